#include "lib/placement/plan/planner.h"

namespace eplb {

bool is_search(Algorithm algorithm) {
    return algorithm == Algorithm::automatic || algorithm == Algorithm::aggregated ||
           algorithm == Algorithm::risk || algorithm == Algorithm::samples;
}

Objective objective_of(Algorithm algorithm) {
    switch (algorithm) {
        case Algorithm::risk:
            return Objective::risk;
        case Algorithm::samples:
            return Objective::samples;
        default:
            return Objective::aggregated;
    }
}

Deployment PlanRequest::whole_deployment() const {
    return {ep_size, num_slots, num_nodes, num_groups, min_replicas, rank_speed};
}

Deployment PlanRequest::deployment() const {
    Deployment deployment = whole_deployment();
    if (!is_search(algorithm))
        deployment.num_nodes = deployment.num_groups = deployment.min_replicas = 1;
    return deployment;
}

void check_plan_request(const PlanRequest& request, int num_experts) {
    const Deployment deployment = request.whole_deployment();
    check_slots(deployment, num_experts);
    check_speeds(deployment, num_experts);
    if (request.algorithm == Algorithm::deepseek)
        check_groups_and_nodes(deployment, num_experts);
    if (is_search(request.algorithm))
        check_search(deployment, num_experts);
}

}  // namespace eplb
