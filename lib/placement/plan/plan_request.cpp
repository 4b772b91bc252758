#include <algorithm>
#include <cmath>
#include <string>

#include "lib/base/error.h"
#include "lib/placement/plan/planner.h"

namespace eplb {
namespace {

std::string quantity(const char* name, int value) {
    return std::string(name) + " " + std::to_string(value);
}

void require_positive(const char* name, int value) {
    if (value < 1)
        throw UsageError(quantity(name, value) + ": must be 1 or more");
}

// "288" or "252 and 288": multiples of ep_size next to num_slots that can hold the experts
std::string nearest_num_slots(int num_slots, int ep_size, int num_experts) {
    const int below = num_slots / ep_size * ep_size;
    const std::string above = std::to_string(below + ep_size);
    return below >= num_experts ? std::to_string(below) + " and " + above : above;
}

int smallest_num_slots(int num_experts, int ep_size) {
    return (num_experts + ep_size - 1) / ep_size * ep_size;
}

void check_slots(const PlanRequest& request, int num_experts) {
    if (request.num_slots < num_experts)
        throw UsageError(quantity("num_slots", request.num_slots) + " is less than the " +
                         std::to_string(num_experts) +
                         " experts, which need a slot each; the smallest for " +
                         quantity("ep_size", request.ep_size) + " is " +
                         std::to_string(smallest_num_slots(num_experts, request.ep_size)));
    if (request.num_slots % request.ep_size != 0)
        throw UsageError(quantity("num_slots", request.num_slots) + " is not a multiple of " +
                         quantity("ep_size", request.ep_size) + "; nearest: " +
                         nearest_num_slots(request.num_slots, request.ep_size, num_experts));
}

void check_groups_and_nodes(const PlanRequest& request, int num_experts) {
    require_positive("num_nodes", request.num_nodes);
    require_positive("num_groups", request.num_groups);
    if (request.ep_size % request.num_nodes != 0)
        throw UsageError(
            quantity("num_nodes", request.num_nodes) + " does not divide " +
            quantity("ep_size", request.ep_size) +
            ": all nodes have the same number of ranks; num_nodes 1 leaves nodes out of "
            "account");
    if (num_experts % request.num_groups != 0)
        throw UsageError(quantity("num_groups", request.num_groups) + " does not divide the " +
                         std::to_string(num_experts) +
                         " experts; give the model's number of expert groups, or 1");
}

// What the searches ask for beyond what DeepSeek's program does.
void check_search(const PlanRequest& request, int num_experts) {
    check_groups_and_nodes(request, num_experts);
    require_positive("min_replicas", request.min_replicas);
    const std::string nodes = quantity("num_nodes", request.num_nodes);
    if (request.num_nodes > 1 && request.num_groups > 1 &&
        request.num_groups % request.num_nodes != 0)
        throw UsageError(quantity("num_groups", request.num_groups) + " is no multiple of " +
                         nodes + ": groups cannot be dealt out; num_groups 1 leaves them out");
    if (request.num_nodes > 1 && num_experts % request.num_nodes != 0)
        throw UsageError(nodes + " does not divide the " + std::to_string(num_experts) +
                         " experts, each of which stays on one node; num_nodes 1 leaves nodes out "
                         "of account");
    if (request.min_replicas > request.ep_size / request.num_nodes)
        throw UsageError("no expert can be on " + std::to_string(request.min_replicas) +
                         " ranks: there are " +
                         std::to_string(request.ep_size / request.num_nodes) +
                         (request.num_nodes > 1 ? " on its node" : ""));
    const int num_needed = num_experts * request.min_replicas;
    if (request.num_slots < num_needed)
        throw UsageError(quantity("num_slots", request.num_slots) + " is less than " +
                         std::to_string(request.min_replicas) + " for each of the " +
                         std::to_string(num_experts) + " experts; the smallest for " +
                         quantity("ep_size", request.ep_size) + " is " +
                         std::to_string(smallest_num_slots(num_needed, request.ep_size)));
}

// For the searches; the figures of every plan take them into account.
void check_speeds(const PlanRequest& request, int num_experts) {
    if (!request.rank_speed.empty() &&
        static_cast<int>(request.rank_speed.size()) != request.ep_size)
        throw UsageError("speeds of " + std::to_string(request.rank_speed.size()) + " ranks, but " +
                         quantity("ep_size", request.ep_size));
    if (!request.rank_speed.empty() &&
        request.num_slots / request.ep_size >= num_experts / request.num_nodes)
        throw UsageError(
            "with as many slots per rank as experts every rank holds all of them and takes an "
            "equal share, whatever its speed; give fewer num_slots");
    for (const double speed : request.rank_speed)
        if (!(speed > 0) || !std::isfinite(speed))
            throw UsageError("a rank's speed must be above 0");
}

}  // namespace

bool is_search(Algorithm algorithm) {
    return algorithm == Algorithm::automatic || algorithm == Algorithm::aggregated ||
           algorithm == Algorithm::risk;
}

Deployment PlanRequest::deployment() const {
    Deployment deployment = {ep_size, num_slots, num_nodes, num_groups, min_replicas, rank_speed};
    if (!is_search(algorithm)) {
        deployment.num_nodes = deployment.num_groups = deployment.min_replicas = 1;
    }
    return deployment;
}

void check_plan_request(const PlanRequest& request, int num_experts) {
    require_positive("num_experts", num_experts);
    require_positive("ep_size", request.ep_size);
    check_slots(request, num_experts);
    check_speeds(request, num_experts);
    if (request.algorithm == Algorithm::deepseek)
        check_groups_and_nodes(request, num_experts);
    if (is_search(request.algorithm))
        check_search(request, num_experts);
}

}  // namespace eplb
