#ifndef EPLB_PLACEMENT_ROUTE_LAYER_TIME_H
#define EPLB_PLACEMENT_ROUTE_LAYER_TIME_H

#include <vector>

#include "lib/placement/route/rank_load.h"
#include "lib/time/layer_cost.h"

namespace eplb {

// What one layer takes, each vector [num_iterations]; NaN where an iteration has no tokens, whose
// layer nobody runs. The slowest rank is the one with the longest time (lowest id on ties): with
// few rows the one with most active experts, not with most tokens.
struct LayerTimes {
    std::vector<double> slowest_us;     // of the slowest rank, which all others wait for
    std::vector<double> mean_us;        // of a rank, the mean
    std::vector<double> weights_share;  // of slowest_us, for slots that reading weights decides
    std::vector<double> active_slots;   // of the slowest rank: with rows
    std::vector<double> balanced_us;    // were the tokens spread evenly over all slots

    int num_iterations() const { return static_cast<int>(slowest_us.size()); }
};

// ep_size must divide the bins of slot_load, whose slots lie on ranks as in rank_load().
LayerTimes layer_times(const LayerLoad& slot_load, int ep_size, const LayerCost& cost);

// The same, averaged over the iterations that have tokens.
struct LayerTimeSummary {
    double time_us = 0;      // of the slowest rank
    double time_us_p99 = 0;  // of the iterations' (load_summary.h)
    double mean_rank_time_us = 0;
    double weights_share = 0;   // 0 to 1
    double active_experts = 0;  // slots of the slowest rank that have rows
    double balanced_time_us = 0;

    int num_iterations = 0;  // that had tokens; where 0, the figures are 0
};

LayerTimeSummary summarize(const LayerTimes& times);

// [num_iterations]: what some layers take one after another, each iteration's slowest ranks added
// up; layers without tokens in it take no time, and an iteration without any is NaN. All layers
// have the same iterations.
std::vector<double> summed_times(const std::vector<LayerTimes>& layers);

}  // namespace eplb

#endif
