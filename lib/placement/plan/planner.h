#ifndef EPLB_PLACEMENT_PLAN_PLANNER_H
#define EPLB_PLACEMENT_PLAN_PLANNER_H

#include <functional>
#include <span>
#include <vector>

#include "lib/base/not_known.h"
#include "lib/base/parallel.h"
#include "lib/placement/placement.h"
#include "lib/placement/plan/prediction.h"
#include "lib/placement/problem/deployment.h"
#include "lib/placement/search/placer.h"
#include "lib/statistics/cooccurrence.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

enum class Algorithm {
    automatic,            // samples or risk, or per layer aggregated where that tests better
    aggregated,           // Objective
    risk,                 // likewise
    samples,              // likewise
    greedy,               // TensorRT-LLM's, bit-exact
    deepseek,             // DeepSeek EPLB's, bit-exact
    trtllm_cooccurrence,  // TensorRT-LLM's, by its rules
};

// Whether it is ours, and not one of upstream's.
bool is_search(Algorithm algorithm);

// Of a search; aggregated, where it is none.
Objective objective_of(Algorithm algorithm);

enum class Robust {
    mean,   // over workloads, by weight
    worst,  // the workload that fares worst
};

struct PlanRequest {
    Algorithm algorithm = Algorithm::greedy;
    int ep_size = 0;     // >= 1
    int num_slots = 0;   // a multiple of ep_size, >= num_experts * min_replicas
    int num_nodes = 1;   // not for greedy and trtllm_cooccurrence
    int num_groups = 1;  // likewise
    // what follows is for automatic, aggregated and risk alone
    int min_replicas = 1;                 // 2: every expert on two ranks at least
    std::vector<double> rank_speed = {};  // [ep_size], or empty; all figures take it into account
    Robust robust = Robust::mean;
    double tolerance = 0.3;             // PlacerOptions
    double co_occurrence = 0;           // PlacerOptions; needs the workloads' cooccurrence
    double imbalance_tolerance = 0.01;  // PlacerOptions
    double time_limit = 0;              // seconds to go on searching for; 0: no longer than needed

    Deployment whole_deployment() const;
    // What the algorithm looks at of it.
    Deployment deployment() const;
};

// Throws the Error that says what is wrong with the request for a model of num_experts experts.
void check_plan_request(const PlanRequest& request, int num_experts);

// One placement per layer of the statistics, in their order, fitted to the counts summed over
// iterations. statistics.ids must be experts. A layer without tokens gets evenly dealt replicas.
std::vector<Placement> plan(const ExpertStatistics& statistics,
                            const PlanRequest& request,
                            ThreadPool& threads);

// What a plan is fitted to. All workloads have the same num_experts, top_k and layers.
struct Workload {
    const ExpertStatistics* statistics = nullptr;
    double weight = 1;                                 // against the others
    const ExpertCooccurrence* cooccurrence = nullptr;  // may be null
};

// Imbalances of one workload, each a mean over its iterations (of which a sum is one).
struct WorkloadResult {
    double common = kNotKnown;           // under the placement for all; where the basis is
                                         // iterations, on the half not fitted to
    double alone = kNotKnown;            // under a placement fitted to it alone
    double greedy_alone = kNotKnown;     // the same by TensorRT-LLM's greedy
    double left_out = kNotKnown;         // under one fitted to all others
    double greedy_left_out = kNotKnown;  // the same by greedy
};

struct LayerPlan {
    Placement placement;
    Algorithm algorithm = Algorithm::greedy;  // of automatic: what was chosen
    bool has_tokens = false;                  // where not, no figure is known

    // of the summed load, as imbalances: the placement's, and what none can be below
    double aggregated = kNotKnown;
    double bound = kNotKnown;
    int slots_to_lift = 0;  // where the bound is above 0.01: num_slots that brings it down to that,
                            // 0 where none does
    // of iterations: what sampling noise alone leaves, nearly
    double noise_floor = kNotKnown;

    double fitted = kNotKnown;              // on the iterations that it was fitted to
    double predicted = kNotKnown;           // on iterations, or workloads, not fitted to
    double predicted_greedy = kNotKnown;    // the same by greedy
    std::vector<WorkloadResult> workloads;  // [num_workloads], where there are several
};

// How the predictions were made.
enum class PredictionBasis {
    none,        // one sum tells nothing of iterations
    iterations,  // fitted to one half of the iterations, measured on the other, both ways
    workloads,   // fitted to all workloads but one, measured on that one, for each
};

struct Plan {
    std::vector<LayerPlan> layers;  // as in the statistics
    PredictionBasis basis = PredictionBasis::none;
    Prediction prediction;  // against greedy, over all layers; where there is a basis
    bool has_unseen_workload = false;
    Prediction unseen_workload;  // the same for a workload not recorded, where there are several
    // of automatic: what stood against aggregated, risk or samples; in how many layers it was
    // chosen; and its imbalance against the other's, as predicted
    Algorithm search = Algorithm::risk;
    int num_searched_layers = 0;
    double choice_ratio = kNotKnown;
};

struct PlanScope {
    bool predict = true;  // or only placements, bounds and figures of the fit
    // called with layers done and in all, from any thread, one at a time; may be empty
    std::function<void(int done, int total)> progress;
};

// Mean of a figure over the layers that have it; NaN where none has.
double mean_over_layers(const Plan& plan, double LayerPlan::*figure);

Plan make_plan(std::span<const Workload> workloads,
               const PlanRequest& request,
               const PlanScope& scope,
               ThreadPool& threads);

}  // namespace eplb

#endif
