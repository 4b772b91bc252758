#ifndef EPLB_TESTS_PLACEMENT_EXHAUSTIVE_H
#define EPLB_TESTS_PLACEMENT_EXHAUSTIVE_H

#include "lib/placement/problem/placement_problem.h"

namespace eplb::test {

// The least load / speed that the hottest rank can have, found by trying every placement without
// an expert twice on a rank, min_replicas or more of each expert. For tiny problems: there are
// binomial(binomial(num_experts, slots_per_rank) + ep_size - 1, ep_size) placements. Infinity where
// there is none.
double exhaustive_optimum(const PlacementProblem& problem);

}  // namespace eplb::test

#endif
