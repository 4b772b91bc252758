#ifndef EPLB_PLACEMENT_ROUTE_RANK_LOAD_H
#define EPLB_PLACEMENT_ROUTE_RANK_LOAD_H

#include <memory>
#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// Loads of one layer per iteration: tokens that each bin (a rank, or a slot) computes. Copies and
// parts share the loads, which never change.
class LayerLoad {
  public:
    LayerLoad() = default;
    LayerLoad(int iterations, int bins, std::vector<double> load);  // [iterations][bins]

    std::span<const double> iteration(int i) const {
        return {begin_ + static_cast<std::ptrdiff_t>(i) * num_bins,
                static_cast<std::size_t>(num_bins)};
    }

    LayerLoad part(int first, int count) const;  // some iterations
    std::vector<double> values() const;          // [num_iterations][num_bins]

    int num_iterations = 0;
    int num_bins = 0;

  private:
    std::shared_ptr<const std::vector<double>> load_;
    const double* begin_ = nullptr;  // of the first iteration, in load_
};

// Error: the statistics' ids are slots.
void require_expert_ids(const ExpertStatistics& statistics);

// [num_bins]: summed over iterations.
std::vector<double> bin_totals(const LayerLoad& load);

// The recorded counts themselves, one bin per expert (per slot where ids are slots).
LayerLoad recorded_load(const ExpertStatistics& statistics, int layer);

// The same added up to ranks as by rank_load(), of experts in order.
LayerLoad recorded_rank_load(const ExpertStatistics& statistics, int layer, int ep_size);

// One bin per slot of `expert_ids` ([num_slots]), each replica of an expert taking an equal share.
// What the engine's round robin gives differs from it by less than one token per source rank,
// block of 1024 ids and slot. statistics.ids must be experts.
LayerLoad projected_load(const ExpertStatistics& statistics,
                         int layer,
                         std::span<const int> expert_ids);

// The same of recorded_load().
LayerLoad projected_load(const LayerLoad& recorded, std::span<const int> expert_ids);

// Error: ep_size does not divide the bins, which lie on ranks in order.
int bins_per_rank(const LayerLoad& load, int ep_size);

// Adds up contiguous bins, as slots lie on ranks (bins_per_rank()).
LayerLoad rank_load(const LayerLoad& slot_load, int ep_size);

}  // namespace eplb

#endif
