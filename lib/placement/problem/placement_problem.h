#ifndef EPLB_PLACEMENT_PROBLEM_PLACEMENT_PROBLEM_H
#define EPLB_PLACEMENT_PROBLEM_PLACEMENT_PROBLEM_H

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace eplb {

// A symmetric matrix over the experts of a layer.
class ExpertMatrix {
  public:
    explicit ExpertMatrix(std::size_t num_experts)
        : num_experts_(num_experts), values_(num_experts * num_experts) {}

    std::size_t num_experts() const { return num_experts_; }
    std::span<const float> row(std::size_t expert) const {
        return std::span(values_).subspan(expert * num_experts_, num_experts_);
    }
    std::span<float> row(std::size_t expert) {
        return std::span(values_).subspan(expert * num_experts_, num_experts_);
    }
    double at(std::size_t expert, std::size_t other) const {
        return static_cast<double>(values_[expert * num_experts_ + other]);
    }

  private:
    std::size_t num_experts_;
    std::vector<float> values_;
};

// What a search lowers.
enum class Objective {
    aggregated,  // the hottest rank of the summed load
    risk,        // the hottest rank of an iteration, as expected of normal loads
    samples,     // the same of the iterations that were recorded
};

// What the searches of one layer's placement work on: how much each expert carries, on average and
// from sample to sample, and what there is to put it on.
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

    // What may come: the sum of a workload, or its iterations, drawn towards their mean; and how
    // much each counts.
    std::vector<double> scenario_load;    // [num_scenarios][num_experts]
    std::vector<double> scenario_weight;  // [num_scenarios], sums to 1

    // How many routed ids a load of 1 is, where those of an expert scatter around a scenario as
    // independent tokens do (a Poisson count); 0 where they do not.
    double ids_per_load = 0;

    // How the experts' loads vary and move together besides. Null where nothing is known of it.
    std::shared_ptr<const ExpertMatrix> covariance;

    // How often a token takes two experts together: [num_experts][num_experts], mean number per
    // token, 0 on the diagonal. Null unless traffic counts.
    std::shared_ptr<const ExpertMatrix> cooccurrence;
    int top_k = 1;  // experts per token

    int num_slots() const { return ep_size * slots_per_rank; }
    int num_scenarios() const { return static_cast<int>(scenario_weight.size()); }
    std::span<const double> scenario(int i) const {
        return std::span(scenario_load)
            .subspan(static_cast<std::size_t>(i) * load.size(), load.size());
    }

    // How many replicas of one expert can be of use: one per rank, and all others need their own.
    int max_replicas() const;

    // (sum of load) / (sum of speed): what every rank would carry at best
    double mean_load() const;

    double speed(int rank_id) const { return rank_speed.empty() ? 1.0 : rank_speed[rank_id]; }
};

}  // namespace eplb

#endif
