#ifndef EPLB_PLACEMENT_UPSTREAM_HIERARCHICAL_H
#define EPLB_PLACEMENT_UPSTREAM_HIERARCHICAL_H

#include <span>

#include "lib/placement/placement.h"

namespace eplb {

// DeepSeek's EPLB (deepseek-ai/EPLB, rebalance_experts), result for result, in its float32
// arithmetic. load is [num_experts]. Equal loads keep the order of their ids, as torch's stable
// sort leaves them; upstream asks for any order, and some versions of torch then give another.
//
// With num_groups a multiple of num_nodes the hierarchical policy: expert groups are packed to
// nodes, experts replicated inside each node, replicas packed to the node's ranks. Otherwise the
// global policy, which ignores groups and nodes.
//
// Required, else Error: num_slots >= num_experts, a multiple of ep_size; num_experts a multiple of
// num_groups; ep_size a multiple of num_nodes.
Placement place_deepseek(
    std::span<const float> load, int ep_size, int num_slots, int num_nodes = 1, int num_groups = 1);

}  // namespace eplb

#endif
