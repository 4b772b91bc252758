#ifndef EPLB_PLACEMENT_PLAN_LAYER_SAMPLES_H
#define EPLB_PLACEMENT_PLAN_LAYER_SAMPLES_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/placement/problem/deployment.h"
#include "lib/placement/problem/placement_problem.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// One layer of a recording: what a placement is fitted to, and measured on.
class LayerSamples {
  public:
    // statistics must outlive it; layer is a position in its layers.
    LayerSamples(const ExpertStatistics& statistics, int layer);

    const ExpertStatistics& statistics() const { return *statistics_; }
    int layer() const { return layer_; }
    int num_experts() const { return statistics_->num_experts; }
    int num_iterations() const { return statistics_->num_iterations; }

    // [num_experts], summed over source ranks
    std::span<const std::int64_t> iteration(int i) const {
        if (statistics_->num_sources == 1)
            return statistics_->row(i, layer_, 0);
        const auto size = static_cast<std::size_t>(num_experts());
        return std::span(counts_).subspan(static_cast<std::size_t>(i) * size, size);
    }
    double total(int i) const { return totals_[i]; }

  private:
    const ExpertStatistics* statistics_;
    int layer_;
    std::vector<std::int64_t> counts_;  // [num_iterations][num_experts], of several source ranks
    std::vector<double> totals_;        // [num_iterations]
};

// Iterations [begin, end) of a layer's recording, as positions from 0, and how much they count
// against other workloads.
struct SampleRange {
    const LayerSamples* samples = nullptr;
    int begin = 0;
    int end = 0;
    double weight = 1;
};

// [num_experts]: the counts of all ranges, summed. Of several ranges each counts by its weight, not
// by its number of tokens; the sum over experts stays a mean number of tokens.
std::vector<double> mixed_counts(std::span<const SampleRange> ranges);

// The problem of placing one layer's experts, on all ranks as if they were one node, fitted to
// `ranges`: at least one, all of the same number of experts. Ranges without tokens are left out;
// where none has any, all loads are 0 and there are no workloads.
//
// What may come is, for
//
// - aggregated: the sum of each range, a scenario, and no more;
// - risk: these, and a covariance around them. It blends two estimates: the sample covariance over
//   iterations, which sees drift but is poor where iterations are few; and that over the source
//   ranks within each iteration, added up: a token's experts go together whatever the iteration,
//   and there are ep_size times more of these samples. With one source rank only the diagonal of
//   the second is known, by a model (binomial sampling, scaled to the variance seen);
// - samples: the iterations themselves (evenly spaced ones where they are many), drawn towards the
//   mean of their range, with a part of that covariance around them, and with the scatter of
//   independent tokens (the mean variance of the ranges): what was recorded is one draw of many.
//
// Covariances are pooled by weight over the ranges that have one. The weights were found on real
// routes: docs/placement.md.
PlacementProblem make_problem(std::span<const SampleRange> ranges,
                              const Deployment& deployment,
                              Objective objective);

}  // namespace eplb

#endif
