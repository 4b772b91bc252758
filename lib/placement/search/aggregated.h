#ifndef EPLB_PLACEMENT_SEARCH_AGGREGATED_H
#define EPLB_PLACEMENT_SEARCH_AGGREGATED_H

#include <cstdint>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

struct AggregatedOptions {
    double target = 1;  // where the fullest rank is at this or below, the search ends
    int num_steps = 0;  // of annealing, where packing and exchanges do not reach it
    std::uint64_t seed = 0;
};

// The placement whose fullest rank carries least of the summed load: replicas in proportion, packed
// without duplicates, evened out by exchanges; while the target is missed the same with fewer
// replicas of heavy experts, and then by annealing.
SlotTable place_aggregated(const PlacementProblem& problem, const AggregatedOptions& options);

}  // namespace eplb

#endif
