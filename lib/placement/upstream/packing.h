#ifndef EPLB_PLACEMENT_UPSTREAM_PACKING_H
#define EPLB_PLACEMENT_UPSTREAM_PACKING_H

#include <span>

#include "lib/placement/placement.h"

namespace eplb {

// Where the replicas go: TensorRT-LLM's doPlacement, result for result (moeLoadBalancer.cpp).
// load and replica_count are [num_experts]; the counts sum to ep_size * slots_per_rank.
//
// Replicas by load / count in double, largest first (tie: lower expert id), each to the least
// loaded rank (tie: lower rank id) with a free slot, into its next slot. An expert may land twice
// on one rank; num_duplicate_slots() tells.
Placement pack_greedy(std::span<const float> load,
                      std::span<const int> replica_count,
                      int ep_size,
                      int slots_per_rank);

}  // namespace eplb

#endif
