#ifndef EPLB_PLACEMENT_PLAN_UPDATE_H
#define EPLB_PLACEMENT_PLAN_UPDATE_H

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/placement.h"
#include "lib/placement/plan/planner.h"

namespace eplb {

// What a running deployment has, and how much of it may change.
struct UpdateRequest {
    std::string name;                // of the config in force, for messages
    std::vector<Placement> current;  // [layers], of the plan's ep_size and num_slots
    std::optional<int> max_moves;    // slots that may move, over all layers; none: no bound
};

struct LayerUpdate {
    std::vector<int> rank_moves;  // [ep_size], slots whose expert changes
    // of the placement in force, on the iterations that the plan was fitted to (it was not)
    double current_imbalance = kNotKnown;

    int num_moves() const;
};

// Changes a plan to one that a running deployment can go over to.
//
// Without a bound, the plan is aligned with what is in force (align()): its figures stay as they
// are. With one, each layer gets the best that its share of the moves allows: a point of
// move_curve(), or its aligned plan; distribute_moves() deals the moves to the layers by the mean
// imbalance over iterations (of the workload that fares worst, where the request is robust for it).
// Then aggregated and fitted are those of the bounded placement, and so is what is predicted: each
// fold's search has as many moves as the layer got. A layer that keeps what it has was fitted to
// nothing, so that its prediction is what it does on all iterations. The prediction loses its
// interval, and the figures of single workloads go, since nobody knows them of the bounded plan. A
// layer without tokens keeps what is in force. The bounds of loads and of noise are as they were.
//
// [layers]; results are the same for any number of threads. Error: check_start().
std::vector<LayerUpdate> update_plan(std::span<const Workload> workloads,
                                     const PlanRequest& request,
                                     const UpdateRequest& update,
                                     ThreadPool& threads,
                                     Plan& plan);

}  // namespace eplb

#endif
