#ifndef EPLB_PLACEMENT_SEARCH_PAIRING_H
#define EPLB_PLACEMENT_SEARCH_PAIRING_H

#include <cstdint>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// Places the summed load on ranks of two slots each, all of the same speed. With replica counts
// given, the heaviest replica beside the lightest, the next beside the next lightest, and so on,
// leaves the fullest rank as empty as can be; so that counts are all there is to search for, by
// annealing. (An expert that would meet itself changes places, which may leave it a little fuller.)
SlotTable place_pairs(const PlacementProblem& problem, int num_steps, std::uint64_t seed);

}  // namespace eplb

#endif
