#ifndef EPLB_PLACEMENT_ROUTE_FAULT_COVERAGE_H
#define EPLB_PLACEMENT_ROUTE_FAULT_COVERAGE_H

#include <cstdint>
#include <span>
#include <vector>

#include "lib/placement/placement.h"

namespace eplb {

// What is gone with a place (a rank, or a node): the experts of a layer all of whose replicas are
// there. The engine cannot go on without them: its mask-only reconfiguration refuses.
struct LostExperts {
    std::vector<std::vector<int>> expert_ids;  // [layers], ascending
    std::vector<double> tokens;                // [layers]: routed ids of those experts

    std::int64_t num_experts() const;  // pairs of layer and expert; best 0
    double total_tokens() const;       // over layers
};

// [num_places]. Places are blocks of neighbouring ranks of one size: num_places is ep_size, or a
// number of nodes. placements: [layers], of one ep_size; expert_tokens: [layers][num_experts], the
// routed ids of each expert.
// Error: num_places does not divide ep_size, an expert stands in no slot, an id is outside
// [0, num_experts).
std::vector<LostExperts> lost_experts(std::span<const Placement> placements,
                                      std::span<const std::vector<double>> expert_tokens,
                                      int num_places);

}  // namespace eplb

#endif
