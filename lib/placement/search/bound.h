#ifndef EPLB_PLACEMENT_SEARCH_BOUND_H
#define EPLB_PLACEMENT_SEARCH_BOUND_H

#include "lib/placement/problem/placement_problem.h"

namespace eplb {

// A lower bound of the hottest rank's load / speed, over all replica counts from min_replicas to
// max_replicas() and all placements with no expert twice on a rank; every replica carries an equal
// share of its expert. Uses `load` only. In the problem's units; divided by (sum of load) / (sum of
// speed), which it is never below, and minus 1: an imbalance.
//
// Bisection for the highest T that necessary conditions refuse (bound.cpp says which), to 1e-9 of
// T, and never above the optimum. Where slots_per_rank >= num_experts, or the problem has no
// placement at all, it is the mean.
double aggregated_bound(const PlacementProblem& problem);

// How many slots lift a forced imbalance: the smallest multiple of ep_size that holds the experts
// and whose aggregated_bound is at most (1 + imbalance) times the mean; num_experts * ep_size,
// every expert everywhere, where none is. slots_per_rank is ignored.
int fewest_slots(const PlacementProblem& problem, double imbalance);

}  // namespace eplb

#endif
