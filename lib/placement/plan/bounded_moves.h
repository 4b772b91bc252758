#ifndef EPLB_PLACEMENT_PLAN_BOUNDED_MOVES_H
#define EPLB_PLACEMENT_PLAN_BOUNDED_MOVES_H

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/problem/deployment.h"
#include "lib/placement/problem/placement_problem.h"

// What a deployment gains from few moves (see alignment.h): a curve per layer, and how many moves
// each layer gets where there is a bound over all of them.
namespace eplb {

struct MovePoint {
    int num_moves = 0;
    double imbalance = 0;
    Placement placement;
};

// The best placement for each number of moves, where more moves are better than fewer: num_moves
// rise from 0, which is `current`, and imbalances fall.
using MoveCurve = std::vector<MovePoint>;

// Keeps of the points what a MoveCurve has. The one of 0 moves is among them.
MoveCurve best_points(std::vector<MovePoint> points);

// What no few moves can put right: Error where `current` leaves an expert on fewer than
// min_replicas ranks, or an expert (or one of num_groups groups) on several nodes. `name` begins
// the text.
void check_start(const Placement& current,
                 const Deployment& deployment,
                 int num_experts,
                 const std::string& name);

// A curve by steepest descent from `current`, in the objective of RiskSearch: of all exchanges of a
// slot of the hottest rank with a lighter one of another rank, and all replicas given from one
// expert to another where that takes load off the hottest rank, the step that gains most per move,
// until none gains or `max_moves` are made. (Where none of the hottest rank gains, the next ones
// are looked at.) Every expert keeps min_replicas, and its node where there are several, as
// check_start() asks of `current`; no rank gets an expert that it holds. `imbalance` is what points
// are compared by: of the counts to be balanced, of any kind.
MoveCurve move_curve(const PlacementProblem& problem,
                     const Deployment& deployment,
                     const Placement& current,
                     int max_moves,
                     const std::function<double(const Placement&)>& imbalance);

// [curves]: the point of each curve, such that the imbalances have the least sum and all moves
// together are at most max_moves. Exact, by dynamic programming, so that more moves are never
// worse.
std::vector<std::size_t> distribute_moves(std::span<const MoveCurve> curves, int max_moves);

}  // namespace eplb

#endif
