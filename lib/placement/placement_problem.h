#ifndef EPLB_PLACEMENT_PLACEMENT_PROBLEM_H
#define EPLB_PLACEMENT_PLACEMENT_PROBLEM_H

#include <span>
#include <vector>

namespace eplb {

// What the searches of one layer's placement work on: how much each expert carries, on average and
// sample by sample, and what there is to put it on.
//
// Loads are in units of the mean rank load: where the experts are the whole layer, every sample
// sums to ep_size, and 1 is a perfect rank. (The experts of one node are a problem of their own,
// whose samples sum to whatever the node gets.)
struct PlacementProblem {
    int num_experts = 0;
    int ep_size = 0;
    int slots_per_rank = 0;
    int min_replicas = 1;            // of every expert
    std::vector<double> rank_speed;  // [ep_size], mean 1; empty: all alike

    // Of the summed counts, which decide the aggregated imbalance.
    std::vector<double> load;  // [num_experts]

    // An iteration each, or a whole recording where there is no more; may be empty.
    std::vector<double> sample_load;    // [num_samples][num_experts]
    std::vector<double> sample_weight;  // [num_samples], sums to 1
    std::vector<double> sample_count;   // [num_samples], routed ids per rank: the fewer, the noisier
    std::vector<int> sample_workload;   // [num_samples], ascending from 0
    int top_k = 1;

    int num_slots() const { return ep_size * slots_per_rank; }
    int num_samples() const { return static_cast<int>(sample_weight.size()); }
    std::span<const double> sample(int i) const {
        return std::span(sample_load).subspan(static_cast<std::size_t>(i) * load.size(),
                                              load.size());
    }

    // How many replicas of one expert can be of use: one per rank, and every other expert needs its
    // own.
    int max_replicas() const;
    double speed(int rank_id) const {
        return rank_speed.empty() ? 1.0 : rank_speed[static_cast<std::size_t>(rank_id)];
    }
};

}  // namespace eplb

#endif
