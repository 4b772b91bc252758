#ifndef EPLB_PLACEMENT_ROUTE_LOAD_SUMMARY_H
#define EPLB_PLACEMENT_ROUTE_LOAD_SUMMARY_H

#include <span>
#include <vector>

#include "lib/placement/route/rank_load.h"

namespace eplb {

// How evenly a layer's bins (ranks, or slots) are loaded, as TensorRT-LLM's
// report_load_statistics.py measures it: each figure is computed per iteration over the bins, then
// averaged over the iterations that have tokens.
struct LoadSummary {
    double mean = 0;             // tokens per bin
    double std = 0;              // unbiased (n - 1); best 0; 0 for a single bin
    double imbalance_ratio = 0;  // max / mean - 1; best 0, worst num_bins - 1 (all on one bin)
    double balancedness = 0;     // mean / max, as SGLang's; best 1, worst 1 / num_bins

    // Of the iterations' imbalance ratios: percentiles, by linear interpolation between the two
    // nearest (numpy's default), and the largest.
    double p50 = 0;
    double p90 = 0;
    double p99 = 0;
    double max = 0;

    int num_iterations = 0;  // that had tokens; where 0, the figures are 0
    int num_empty_iterations = 0;
};

// The value below which so many percent of the sorted values lie, interpolated linearly; 0 where
// there are none. percent in [0, 100].
double percentile(std::span<const double> sorted, double percent);

LoadSummary summarize(const LayerLoad& load);

// Of each layer, over ranks that hold the recorded experts (or slots) in order; ep_size must divide
// them.
std::vector<LoadSummary> recorded_summaries(const ExpertStatistics& statistics, int ep_size);

// The imbalance ratio over ranks, averaged likewise, that the best division of each iteration's
// tokens among replicas could reach (optimal_split.h). expert_load: bins are experts.
double optimal_split_ratio(const LayerLoad& expert_load, const Placement& placement);

// The plain mean over the layers that have tokens, as upstream's row "average" (which a layer
// without any would turn into NaN), of percentiles too. The numbers of iterations are summed.
LoadSummary average(std::span<const LoadSummary> layers);

}  // namespace eplb

#endif
