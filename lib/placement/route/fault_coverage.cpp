#include "lib/placement/route/fault_coverage.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

constexpr int kNowhere = -1;
constexpr int kSeveral = -2;

// [num_experts]: the only place that holds each expert, or kSeveral.
std::vector<int> only_places(const Placement& placement, int num_experts, int num_places) {
    covering_replica_counts(placement.expert_ids, num_experts);
    std::vector<int> places(num_experts, kNowhere);
    const int slots_per_place = placement.num_slots() / num_places;
    for (int slot = 0; slot < placement.num_slots(); ++slot) {
        int& place = places[placement.expert_ids[slot]];
        const int here = slot / slots_per_place;
        place = place == kNowhere || place == here ? here : kSeveral;
    }
    return places;
}

}  // namespace

std::int64_t LostExperts::num_experts() const {
    std::int64_t sum = 0;
    for (const std::vector<int>& layer : expert_ids)
        sum += static_cast<std::int64_t>(layer.size());
    return sum;
}

double LostExperts::total_tokens() const {
    return std::accumulate(tokens.begin(), tokens.end(), 0.0);
}

std::vector<LostExperts> lost_experts(std::span<const Placement> placements,
                                      std::span<const std::vector<double>> expert_tokens,
                                      int num_places) {
    assert(placements.size() == expert_tokens.size());
    std::vector<LostExperts> lost(
        std::max(num_places, 0),
        {std::vector<std::vector<int>>(placements.size()), std::vector<double>(placements.size())});
    for (std::size_t layer = 0; layer < placements.size(); ++layer) {
        const Placement& placement = placements[layer];
        if (num_places < 1 || placement.ep_size % num_places != 0)
            throw Error("faults: " + std::to_string(num_places) + " nodes for " +
                        std::to_string(placement.ep_size) +
                        " ranks: num_nodes must divide ep_size");
        const std::vector<double>& tokens = expert_tokens[layer];
        const std::vector<int> places =
            only_places(placement, static_cast<int>(tokens.size()), num_places);
        for (std::size_t expert = 0; expert < places.size(); ++expert) {
            if (places[expert] == kSeveral)
                continue;
            LostExperts& here = lost[places[expert]];
            here.expert_ids[layer].push_back(static_cast<int>(expert));
            here.tokens[layer] += tokens[expert];
        }
    }
    return lost;
}

}  // namespace eplb
