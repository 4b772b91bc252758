#ifndef EPLB_PLACEMENT_PLANNER_H
#define EPLB_PLACEMENT_PLANNER_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/placement.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

enum class Algorithm {
    greedy,    // TensorRT-LLM's, bit-exact
    deepseek,  // DeepSeek EPLB's, bit-exact
};

struct PlanRequest {
    Algorithm algorithm = Algorithm::greedy;
    int ep_size = 0;     // >= 1
    int num_slots = 0;   // a multiple of ep_size, >= num_experts
    int num_nodes = 1;   // deepseek only
    int num_groups = 1;  // deepseek only
};

// Throws the Error that says what is wrong with the request for a model of num_experts experts.
void check_plan_request(const PlanRequest& request, int num_experts);

// One placement per layer of the statistics, in their order, fitted to the counts summed over
// iterations. statistics.ids must be experts. A layer without tokens gets evenly dealt replicas.
std::vector<Placement> plan(const ExpertStatistics& statistics,
                            const PlanRequest& request,
                            ThreadPool& threads);

}  // namespace eplb

#endif
