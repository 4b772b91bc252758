#ifndef EPLB_PLACEMENT_SEARCH_DISTINCT_PACKING_H
#define EPLB_PLACEMENT_SEARCH_DISTINCT_PACKING_H

#include <span>
#include <vector>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// Replica counts between the problem's least and most: starting from the least, each further slot
// goes to the largest load / (r * (r + 1) ^ exponent) (tie: lower expert id).
//
// 0 makes the heaviest replica as light as can be; 1 makes the sum of load / r, and with it the
// noise of the ranks, as small as can be; between them lie compromises.
//
// The last `num_held_back` slots go to the lightest experts instead: as many replicas as can be of
// the heavy ones do not always share out evenly over the ranks.
std::vector<int> replicate(const PlacementProblem& problem,
                           std::span<const double> load,
                           double exponent,
                           int num_held_back = 0);

// Replicas by load / count, heaviest first, each to the rank that it leaves least loaded for its
// speed (ties: lower ids) among those with room that lack the expert. No rank gets an expert twice;
// counts are at most ep_size each, and sum to the slots.
SlotTable pack_distinct(const PlacementProblem& problem,
                        std::span<const double> load,
                        std::span<const int> replica_count);

}  // namespace eplb

#endif
