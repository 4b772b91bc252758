#include "lib/engines/default_placement.h"

#include <string>

#include "lib/base/error.h"

namespace eplb {

void require_room(int num_experts, int ep_size, int slots_per_rank) {
    if (num_experts < 1 || ep_size < 1 || slots_per_rank < 1 ||
        ep_size * slots_per_rank < num_experts)
        throw Error("default placement: " + std::to_string(ep_size) + " ranks with " +
                    std::to_string(slots_per_rank) + " slots each cannot hold " +
                    std::to_string(num_experts) + " experts");
}

Placement in_order_placement(int num_experts, int ep_size, int slots_per_rank) {
    require_room(num_experts, ep_size, slots_per_rank);
    Placement placement{ep_size, slots_per_rank, {}};
    placement.expert_ids.reserve(placement.num_slots());
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(slot % num_experts);
    return placement;
}

}  // namespace eplb
