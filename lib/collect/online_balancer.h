#ifndef EPLB_COLLECT_ONLINE_BALANCER_H
#define EPLB_COLLECT_ONLINE_BALANCER_H

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/placement/placement.h"

namespace eplb {

// Which layers are re-placed in which iteration: TensorRT-LLM's update plan (moeLoadBalancer.cpp).
// ceil(num_layers / layer_updates_per_iter) groups, layer l in group l mod groups; the groups take
// turns, one per iteration. Where all groups have the same size an empty one ends the cycle.
class UpdatePlan {
  public:
    UpdatePlan(int num_layers, int layer_updates_per_iter);

    int cycle_length() const { return static_cast<int>(groups_.size()); }
    const std::vector<int>& layers(std::int64_t iteration) const {
        return groups_[static_cast<std::size_t>(iteration) % groups_.size()];
    }

  private:
    std::vector<std::vector<int>> groups_;  // positions of MoE layers
};

// Follows the traffic: per layer a decayed sum of expert counts since the layer was last re-placed,
// and the greedy placement for it when the layer's turn comes.
class OnlineBalancer {
  public:
    static constexpr float kDecay = 0.9F;

    OnlineBalancer(int num_layers,
                   int num_experts,
                   int ep_size,
                   int slots_per_rank,
                   int layer_updates_per_iter);

    const UpdatePlan& plan() const { return plan_; }

    // Takes one layer's expert counts of one iteration, all ranks together, [num_experts]. Where it
    // is the layer's turn, returns its new placement and forgets its load.
    std::optional<Placement> update(std::int64_t iteration,
                                    int layer,
                                    std::span<const std::int64_t> expert_counts);

    // The decayed load of a layer, [num_experts].
    std::span<const float> load(int layer) const;

  private:
    int num_experts_;
    int ep_size_;
    int slots_per_rank_;
    UpdatePlan plan_;
    std::vector<float> load_;  // [num_layers][num_experts]
};

}  // namespace eplb

#endif
