#ifndef EPLB_PLACEMENT_PLACEMENT_H
#define EPLB_PLACEMENT_PLACEMENT_H

#include <map>
#include <span>
#include <vector>

namespace eplb {

// One layer's experts in slots. Slot s lives on rank s / slots_per_rank.
struct Placement {
    int ep_size = 0;
    int slots_per_rank = 0;
    std::vector<int> expert_ids;  // [ep_size][slots_per_rank]

    int num_slots() const { return ep_size * slots_per_rank; }
    std::span<const int> rank(int rank_id) const;  // [slots_per_rank]
    std::span<int> rank(int rank_id);

    bool operator==(const Placement&) const = default;
};

// [num_experts]: in how many slots each expert stands. Error: an id outside [0, num_experts).
std::vector<int> replica_counts(std::span<const int> expert_ids, int num_experts);

// The same, with an Error where an expert stands in no slot: its tokens would have nowhere to go.
std::vector<int> covering_replica_counts(std::span<const int> expert_ids, int num_experts);

// Slots that hold an expert which a lower slot of the same rank holds too; best 0. Such a slot adds
// memory but cannot spread load over ranks.
int num_duplicate_slots(const Placement& placement);

// Where an engine puts experts when no config says.
using DefaultPlacement = Placement(int num_experts, int ep_size, int slots_per_rank);

// What the engine loads: TensorRT-LLM's MoeLoadBalancerConfig. These three members and no other
// reach its yaml.
struct EplbConfig {
    int num_slots = 0;
    int layer_updates_per_iter =
        0;  // 0: static; above: that many layers are re-placed per iteration
    // model layer id -> [num_slots]; empty: the engine starts from its default assignment
    std::map<int, std::vector<int>> initial_global_assignments;

    bool operator==(const EplbConfig&) const = default;
};

}  // namespace eplb

#endif
