#ifndef EPLB_ENGINES_DEFAULT_PLACEMENT_H
#define EPLB_ENGINES_DEFAULT_PLACEMENT_H

#include "lib/placement/placement.h"

// What several engines' default placements share.
namespace eplb {

// Error: the ranks' slots are fewer than the experts.
void require_room(int num_experts, int ep_size, int slots_per_rank);

// Slot s of all ranks' holds expert s mod num_experts.
Placement in_order_placement(int num_experts, int ep_size, int slots_per_rank);

}  // namespace eplb

#endif
