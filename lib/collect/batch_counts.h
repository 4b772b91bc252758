#ifndef EPLB_COLLECT_BATCH_COUNTS_H
#define EPLB_COLLECT_BATCH_COUNTS_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/statistics/expert_statistics.h"

namespace eplb {

// What the iterations of a batch routed: of this device's source ranks, and in all.
struct BatchCounts {
    ExpertStatistics statistics;            // num_sources: ranks of this device
    std::optional<RoutedIds> routed;        // likewise, where kept
    std::vector<std::int64_t> slot_totals;  // [iterations][layers][slots], of all source ranks
    std::int64_t num_moved_slots = 0;       // by re-placements
    std::int64_t num_routed = 0;            // tokens x layers, of all devices
    std::int64_t num_near_ties = 0;         // of these

    // Per layer max / mean - 1 over the ranks that compute, 0 for a layer without tokens.
    std::vector<double> rank_imbalance(int iteration) const;
};

// The same of many iterations, averaged over them.
class ImbalanceAverage {
  public:
    explicit ImbalanceAverage(std::size_t num_layers) : sums_(num_layers) {}

    void add(const std::vector<double>& rank_imbalance);
    double over_layers() const;
    std::size_t worst_layer() const;
    double of_layer(std::size_t layer) const { return sums_[layer] / num_iterations_; }

  private:
    std::vector<double> sums_;  // [num_layers]
    int num_iterations_ = 0;
};

}  // namespace eplb

#endif
