#ifndef EPLB_PLACEMENT_PLAN_ALIGNMENT_H
#define EPLB_PLACEMENT_PLAN_ALIGNMENT_H

#include <span>
#include <vector>

#include "lib/placement/placement.h"

// From the placement that a running deployment has to a new one, with as few weights to load as
// can be. A slot moves where the expert in it is another afterwards. Both placements of a call have
// the same ep_size and slots_per_rank.
namespace eplb {

// [ep_size]: slots of each rank that move.
std::vector<int> moves_per_rank(const Placement& placement, const Placement& current);
int num_moves(const Placement& placement, const Placement& current);

// The same experts on the same ranks, in other slots of them: every expert that its rank has
// already stays in its slot, the others fill the free slots in the order that they came in.
Placement keep_slots(const Placement& placement, const Placement& current);

// keep_slots() of the ranks in another order, the one with the fewest moves; of several such, one
// that leaves most ranks where `placement` has them. The ranks' loads are only exchanged, so that
// the imbalance stays as it is. With num_nodes above 1, which divides ep_size, whole nodes change
// places, and ranks do within them; with rank_speed ([ep_size], empty: all alike) only ranks of
// equal speed. Deterministic.
Placement align(const Placement& placement,
                const Placement& current,
                int num_nodes,
                std::span<const double> rank_speed);

}  // namespace eplb

#endif
