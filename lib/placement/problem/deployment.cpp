#include "lib/placement/problem/deployment.h"

#include <cmath>
#include <string>

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

std::string quantity(const char* name, int value) {
    return setting(name) + " " + std::to_string(value);
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

}  // namespace

void check_slots(const Deployment& deployment, int num_experts) {
    require_positive("num_experts", num_experts);
    require_positive("ep_size", deployment.ep_size);
    if (deployment.num_slots < num_experts)
        throw UsageError(quantity("num_slots", deployment.num_slots) + " is less than the " +
                         std::to_string(num_experts) +
                         " experts, which need a slot each; the smallest for " +
                         quantity("ep_size", deployment.ep_size) + " is " +
                         std::to_string(smallest_num_slots(num_experts, deployment.ep_size)));
    if (deployment.num_slots % deployment.ep_size != 0)
        throw UsageError(quantity("num_slots", deployment.num_slots) + " is not a multiple of " +
                         quantity("ep_size", deployment.ep_size) + "; nearest: " +
                         nearest_num_slots(deployment.num_slots, deployment.ep_size, num_experts));
}

void check_groups_and_nodes(const Deployment& deployment, int num_experts) {
    require_positive("num_nodes", deployment.num_nodes);
    require_positive("num_groups", deployment.num_groups);
    if (deployment.ep_size % deployment.num_nodes != 0)
        throw UsageError(quantity("num_nodes", deployment.num_nodes) + " does not divide " +
                         quantity("ep_size", deployment.ep_size) +
                         ": all nodes have the same number of ranks; " + quantity("num_nodes", 1) +
                         " leaves nodes out of account");
    if (num_experts % deployment.num_groups != 0)
        throw UsageError(quantity("num_groups", deployment.num_groups) + " does not divide the " +
                         std::to_string(num_experts) +
                         " experts; give the model's number of expert groups, or 1");
}

void check_search(const Deployment& deployment, int num_experts) {
    check_groups_and_nodes(deployment, num_experts);
    require_positive("min_replicas", deployment.min_replicas);
    const std::string nodes = quantity("num_nodes", deployment.num_nodes);
    if (deployment.num_nodes > 1 && deployment.num_groups > 1 &&
        deployment.num_groups % deployment.num_nodes != 0)
        throw UsageError(quantity("num_groups", deployment.num_groups) + " is no multiple of " +
                         nodes + ": groups cannot be dealt out; " + quantity("num_groups", 1) +
                         " leaves them out");
    if (deployment.num_nodes > 1 && num_experts % deployment.num_nodes != 0)
        throw UsageError(nodes + " does not divide the " + std::to_string(num_experts) +
                         " experts, each of which stays on one node; " + quantity("num_nodes", 1) +
                         " leaves nodes out of account");
    if (deployment.min_replicas > deployment.ep_size / deployment.num_nodes)
        throw UsageError("no expert can be on " + std::to_string(deployment.min_replicas) +
                         " ranks: there are " +
                         std::to_string(deployment.ep_size / deployment.num_nodes) +
                         (deployment.num_nodes > 1 ? " on its node" : ""));
    const int num_needed = num_experts * deployment.min_replicas;
    if (deployment.num_slots < num_needed)
        throw UsageError(quantity("num_slots", deployment.num_slots) + " is less than " +
                         std::to_string(deployment.min_replicas) + " for each of the " +
                         std::to_string(num_experts) + " experts; the smallest for " +
                         quantity("ep_size", deployment.ep_size) + " is " +
                         std::to_string(smallest_num_slots(num_needed, deployment.ep_size)));
}

void check_speeds(const Deployment& deployment, int num_experts) {
    if (!deployment.rank_speed.empty() &&
        static_cast<int>(deployment.rank_speed.size()) != deployment.ep_size)
        throw UsageError("speeds of " + std::to_string(deployment.rank_speed.size()) +
                         " ranks, but " + quantity("ep_size", deployment.ep_size));
    if (!deployment.rank_speed.empty() &&
        deployment.num_slots / deployment.ep_size >= num_experts / deployment.num_nodes)
        throw UsageError(
            "with as many slots per rank as experts every rank holds all of them and takes an "
            "equal share, whatever its speed; give fewer " +
            setting("num_slots"));
    for (const double speed : deployment.rank_speed)
        if (!(speed > 0) || !std::isfinite(speed))
            throw UsageError("a rank's speed must be above 0");
}

}  // namespace eplb
