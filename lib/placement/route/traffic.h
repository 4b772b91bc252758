#ifndef EPLB_PLACEMENT_ROUTE_TRAFFIC_H
#define EPLB_PLACEMENT_ROUTE_TRAFFIC_H

#include <cstdint>
#include <span>

#include "lib/placement/placement.h"
#include "lib/statistics/expert_statistics.h"

// How far a placement sends tokens. A token goes once to every rank that computes one of its
// experts, its own rank included, however many of them are there.
//
// Which replica serves is taken as chance: each with the same probability, independently for every
// id of a token. Upstream's report_send_ranks_per_token takes the replicas of one expert for
// independent too, and so counts too little where a rank holds several.
namespace eplb {

struct TokenTraffic {
    std::int64_t num_tokens = 0;  // with at least one expert: others are sent nowhere
    double num_ranks = 0;         // expected distinct ranks of a token, summed over the tokens
    double num_nodes = 0;         // and distinct nodes

    // From 1 to the lesser of top_k and ep_size; 0 without tokens.
    double ranks_per_token() const;
    double nodes_per_token() const;

    TokenTraffic& operator+=(const TokenTraffic& other);
};

// Of one layer's tokens. ids is [num_tokens][top_k], experts, -1: not routed. Nodes are num_nodes
// blocks of neighbouring ranks, of one size. Without replicas the numbers are plain counts.
//
// Error: num_nodes does not divide ep_size, an expert between others stands in no slot, an id is of
// no expert in the placement.
TokenTraffic expected_traffic(std::span<const std::int32_t> ids,
                              int top_k,
                              const Placement& placement,
                              int num_nodes = 1);

// Of all iterations and source ranks. layer is a position from 0, not an id.
TokenTraffic expected_traffic(const RoutedIds& routed,
                              int layer,
                              const Placement& placement,
                              int num_nodes = 1);

}  // namespace eplb

#endif
