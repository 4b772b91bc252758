#include "lib/placement/planner.h"

#include <algorithm>
#include <string>

#include "lib/base/error.h"
#include "lib/placement/hierarchical.h"
#include "lib/placement/packing.h"
#include "lib/placement/replication.h"

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

Placement place_layer(const std::vector<std::int64_t>& counts, const PlanRequest& request) {
    // upstream hands its sums over as float32
    std::vector<float> load(counts.size());
    std::transform(counts.begin(), counts.end(), load.begin(),
                   [](std::int64_t count) { return static_cast<float>(count); });
    if (request.algorithm == Algorithm::deepseek)
        return place_deepseek(load, request.ep_size, request.num_slots, request.num_nodes,
                              request.num_groups);
    return pack_greedy(load, replicate_greedy(load, request.num_slots), request.ep_size,
                       request.num_slots / request.ep_size);
}

}  // namespace

void check_plan_request(const PlanRequest& request, int num_experts) {
    require_positive("num_experts", num_experts);
    require_positive("ep_size", request.ep_size);
    check_slots(request, num_experts);
    if (request.algorithm == Algorithm::deepseek)
        check_groups_and_nodes(request, num_experts);
}

std::vector<Placement> plan(const ExpertStatistics& statistics,
                            const PlanRequest& request,
                            ThreadPool& threads) {
    if (statistics.ids == IdKind::slot)
        throw Error(
            "statistics: the ids are slots of a config, not experts; fold them with the "
            "config that was in force during the recording");
    check_plan_request(request, statistics.num_experts);
    std::vector<Placement> placements(statistics.layers.size());
    threads.for_each(statistics.num_layers(), [&](std::int64_t layer) {
        placements[static_cast<std::size_t>(layer)] =
            place_layer(total_counts(statistics, static_cast<int>(layer)), request);
    });
    return placements;
}

}  // namespace eplb
