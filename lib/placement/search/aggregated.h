#ifndef EPLB_PLACEMENT_SEARCH_AGGREGATED_H
#define EPLB_PLACEMENT_SEARCH_AGGREGATED_H

#include <cstdint>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

struct AggregatedOptions {
    double bound = 1;         // no rank can be lighter than this: where reached, the search ends
    double tolerance = 1e-4;  // above the bound that is good enough, in mean rank loads
    int num_kicks = 200;      // descents from a disturbed placement while it is not reached
    std::uint64_t seed = 0;
};

// The placement whose fullest rank carries least of the summed load: replicas in proportion, packed
// without duplicates, evened out by exchanges; then, while the tolerance is missed, small
// disturbances (replicas given to other experts, exchanges at random) with a descent after each,
// kept where it is no worse, and after many in vain where it is not much worse. The best is
// returned: more kicks are never worse.
SlotTable place_aggregated(const PlacementProblem& problem, const AggregatedOptions& options);

}  // namespace eplb

#endif
