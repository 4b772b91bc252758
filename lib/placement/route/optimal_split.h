#ifndef EPLB_PLACEMENT_ROUTE_OPTIMAL_SPLIT_H
#define EPLB_PLACEMENT_ROUTE_OPTIMAL_SPLIT_H

#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/rank_load.h"

namespace eplb {

// What a placement could reach if each iteration's tokens were divided among the replicas of their
// expert at will, in fractions: the least possible load of the hottest rank, [num_iterations], 0
// where there are no tokens.
//
// expert_load: integers, bins are experts; every one stands in a slot. Several replicas on one rank
// are as good as one.
//
// By linear-programming duality it is the greatest, over sets S of ranks, of the load of the
// experts that stand nowhere else, divided by |S|. Found exactly, in integers: start at the greater
// of the mean and the largest load that a rank cannot pass on; while a maximum flow from experts to
// ranks finds no room for all, its minimum cut gives a set S with more (Dinkelbach's method).
//
// Error: an expert stands in no slot.
std::vector<double> optimal_max_load(const LayerLoad& expert_load, const Placement& placement);

}  // namespace eplb

#endif
