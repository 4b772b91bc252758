#ifndef EPLB_COLLECT_DIRECT_CHECK_H
#define EPLB_COLLECT_DIRECT_CHECK_H

#include <cstdint>

#include "lib/base/parallel.h"
#include "lib/collect/collector.h"
#include "lib/model/synthetic.h"

namespace eplb {

// Evaluates layers token by token, in double precision, from the model's own weights: without
// slots, dispatch, chunks or tiles, and shares no code with them. What the collector computed must
// agree.
class DirectCheck {
  public:
    // Largest difference that counts as agreement, relative to what the layer adds to a token and
    // beyond the rounding of the sum in fp32.
    static constexpr double kTolerance = 1e-4;
    // A token whose choice of experts hangs on a smaller difference of scores may be routed either
    // way; it is counted as a near-tie.
    static constexpr double kNearTie = 1e-5;

    DirectCheck(const SyntheticModel& model, ThreadPool& threads)
        : model_(model), threads_(threads) {}

    // Throws a GateError that names layer and token where collector and direct evaluation differ.
    void check(const Collector::LayerTrace& trace);

    std::int64_t num_tokens() const { return num_tokens_; }  // checked, over all layers
    std::int64_t num_near_ties() const { return num_near_ties_; }
    double largest_difference() const { return largest_difference_; }

  private:
    const SyntheticModel& model_;
    ThreadPool& threads_;
    std::int64_t num_tokens_ = 0;
    std::int64_t num_near_ties_ = 0;
    double largest_difference_ = 0;
};

}  // namespace eplb

#endif
