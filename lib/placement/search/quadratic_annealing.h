#ifndef EPLB_PLACEMENT_SEARCH_QUADRATIC_ANNEALING_H
#define EPLB_PLACEMENT_SEARCH_QUADRATIC_ANNEALING_H

#include <cstdint>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// Lowers H = sum over ranks of [V_j + sum over workloads of weight_w (mu_jw - 1)^2] (the terms of
// RiskSearch) by exchanges of experts at random, of which ever fewer bad ones are taken. H is
// quadratic, so that a step costs a few look-ups: a start for RiskSearch from far away. Replica
// counts stay; speeds are left out of account.
SlotTable anneal_quadratic(const PlacementProblem& problem,
                           SlotTable table,
                           int num_steps,
                           std::uint64_t seed);

}  // namespace eplb

#endif
