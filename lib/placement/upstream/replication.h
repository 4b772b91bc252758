#ifndef EPLB_PLACEMENT_UPSTREAM_REPLICATION_H
#define EPLB_PLACEMENT_UPSTREAM_REPLICATION_H

#include <span>
#include <vector>

namespace eplb {

// How many replicas each expert gets: TensorRT-LLM's doReplication, result for result (moeLoad-
// Balancer.cpp). load is [num_experts], >= 0; num_slots >= num_experts.
//
// num_slots == num_experts, or loads that sum to zero: the slots are dealt out evenly, lower ids
// first. Otherwise each slot beyond one per expert goes to the largest load / replicas, computed in
// double; on a tie to the HIGHER expert id.
std::vector<int> replicate_greedy(std::span<const float> load, int num_slots);

}  // namespace eplb

#endif
