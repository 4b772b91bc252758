#ifndef EPLB_PLACEMENT_SEARCH_PLACER_H
#define EPLB_PLACEMENT_SEARCH_PLACER_H

#include <cstdint>

#include "lib/placement/placement.h"
#include "lib/placement/problem/deployment.h"
#include "lib/placement/problem/placement_problem.h"

namespace eplb {

struct PlacerOptions {
    Objective objective = Objective::risk;
    double tolerance = 0.3;    // how far risk may leave the summed load above its bound, in mean
                               // rank loads
    double co_occurrence = 0;  // RiskSearch::set_traffic_weight()
    double imbalance_tolerance = 0;  // how much expected imbalance less traffic may cost
};

// A placement, and what tells whether another one is better.
struct Placed {
    Placement placement;
    double beta = 0;  // of RiskSearch; 0 where the summed load alone decides
};

// Places one layer's experts, whatever the problem: no tokens at all, one rank, more slots per rank
// than experts (only then a rank holds an expert twice). `deployment` is that of the problem; with
// num_nodes above 1 each expert stays on one node. Risk needs a covariance or several workloads;
// without, it is `aggregated`. Deterministic.
Placed place(const PlacementProblem& problem,
             const Deployment& deployment,
             const PlacerOptions& options);

// Searches again, longer with each round (from 1), from another seed, and keeps the better of the
// two: the summed load of the fullest rank decides, or the risk at placed.beta.
void improve(const PlacementProblem& problem,
             const Deployment& deployment,
             const PlacerOptions& options,
             int round,
             Placed& placed);

// aggregated_bound(), of placements that keep experts on their nodes: as an imbalance, so minus 1.
double imbalance_bound(const PlacementProblem& problem, const Deployment& deployment);

}  // namespace eplb

#endif
