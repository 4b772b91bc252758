#ifndef EPLB_PLACEMENT_PLAN_SWEEP_H
#define EPLB_PLACEMENT_PLAN_SWEEP_H

#include <functional>
#include <span>
#include <vector>

#include "lib/placement/plan/planner.h"

namespace eplb {

// One deployment of a sweep; imbalances are means over layers.
struct SweepRow {
    int ep_size = 0;
    int num_slots = 0;
    double unbalanced = 0;  // of the engine's default assignment with the fewest slots
    double imbalance = 0;   // as predicted; as fitted where nothing can be predicted
    bool is_prediction = false;
    double bound = 0;  // of the summed load

    double bytes_per_rank = 0;  // of the experts in its slots, over all layers

    // The fullest rank's tokens: (1 + unbalanced) / (1 + imbalance).
    double token_ratio = 0;

    // Worth its memory: at least 1 % fewer tokens on the fullest rank than the last row of the same
    // ep_size with fewer slots that is.
    bool is_best = false;
};

// Whether check_plan_request() accepts the request with these.
bool is_possible(PlanRequest request, int ep_size, int num_slots, int num_experts);

struct SweepRequest {
    PlanRequest plan;  // ep_size and num_slots are those of a row
    std::vector<int> ep_sizes;
    std::vector<int> num_slots;
    DefaultPlacement* default_placement = nullptr;  // the engine's, for what is unbalanced
    double bytes_per_expert = 0;                    // 0: not known
};

// Plans every pair of the two lists that is_possible(), and each ep_size with the fewest slots that
// is, in ascending order. Error where none of the lists is.
std::vector<SweepRow> sweep(std::span<const Workload> workloads,
                            const SweepRequest& request,
                            const std::function<void(int done, int total)>& progress,
                            ThreadPool& threads);

// Mean over layers of what is predicted or, where nothing can be, of the fit.
double planned_imbalance(const Plan& plan);

// What num_slots a search for the fewest may take: multiples of ep_size from the fewest that hold
// the experts to twice as many.
std::vector<int> slot_candidates(const PlanRequest& request, int ep_size, int num_experts);

}  // namespace eplb

#endif
