#ifndef EPLB_PLACEMENT_SEARCH_NODE_SPLIT_H
#define EPLB_PLACEMENT_SEARCH_NODE_SPLIT_H

#include <functional>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/problem/deployment.h"
#include "lib/placement/problem/placement_problem.h"

// The hierarchical problem in two parts: groups of experts to nodes, then experts to the ranks of
// their node.
namespace eplb {

// Nodes as ranks, and as experts the groups (with num_groups 1: the experts themselves), one
// replica each.
PlacementProblem group_problem(const PlacementProblem& problem, const Deployment& deployment);

// [num_nodes]: the experts of each node, ascending; as place_groups puts the groups.
std::vector<std::vector<int>> assign_to_nodes(
    const PlacementProblem& problem,
    const Deployment& deployment,
    const std::function<Placement(const PlacementProblem& groups)>& place_groups);

// The part of one node: its ranks and `experts` (ids, ascending). Loads keep their unit, so that a
// node with more than its share shows it.
PlacementProblem node_problem(const PlacementProblem& problem,
                              const Deployment& deployment,
                              int node,
                              const std::vector<int>& experts);

}  // namespace eplb

#endif
