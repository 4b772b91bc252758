#include "lib/placement/search/placer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/placement/search/aggregated.h"
#include "lib/placement/search/annealing.h"
#include "lib/placement/search/balance_search.h"
#include "lib/placement/search/bound.h"
#include "lib/placement/search/distinct_packing.h"
#include "lib/placement/search/node_split.h"
#include "lib/placement/search/quadratic_annealing.h"
#include "lib/placement/search/risk_search.h"

namespace eplb {
namespace {

// of the summed load, in mean rank loads: closer to the bound than this is close enough
constexpr double kCloseEnough = 1e-4;
constexpr double kCloseEnoughAtFewSlots = 1e-3;  // where it is hard to come closer
constexpr int kFewSlots = 5;                     // per rank
constexpr int kAggregatedSteps = 100000;
// num_steps of these are per slot
constexpr Schedule kSamplesSchedule = {.num_steps = 3000};
// but no more than this: what a step costs goes with the scenarios, and what one that is taken
// costs with the experts
constexpr int kMostSampleStepsTimesScenarios = 25600000;
constexpr int kMostSampleStepsTimesExperts = 51200000;
// normal loads: on the quadratic part from far away, then on the whole, where only small steps are
// left; of several workloads there is more to find
constexpr int kQuadraticSteps = 700;
constexpr int kQuadraticStepsOfWorkloads = 2000;
constexpr Schedule kRiskSchedule = {
    .num_steps = 175, .first_temperature = 1e-4, .last_temperature = 3e-6, .replica_share = 0.1};
constexpr Schedule kRiskScheduleOfWorkloads = {
    .num_steps = 175, .first_temperature = 1e-3, .last_temperature = 1e-5};
constexpr Schedule kFewSlotsScheduleOfWorkloads = {
    .num_steps = 3000, .first_temperature = 1e-3, .last_temperature = 3e-5, .replica_share = 0.6};
// few scenarios make steps cheap, and leave much to the best one of each pair of ranks
constexpr int kSweepsOfWorkloads = 10;
constexpr int kMaxDoublings = 6;
// with fewer slots per rank, replicas have to be in proportion to the load
constexpr int kSlotsForFreeReplicas = 5;
constexpr double kReplicaExponent = 0.5;
constexpr int kSlotsOfSingleExperts = 3;
constexpr int kTrafficTrials = 6;
constexpr int kTrafficSteps = 20000;

bool has_risk(const PlacementProblem& problem) {
    return problem.covariance != nullptr || problem.num_scenarios() > 1;
}

// Every rank holds every expert, and all ranks are the same.
Placement place_everywhere(const PlacementProblem& problem) {
    Placement placement{problem.ep_size, problem.slots_per_rank, {}};
    for (int slot = 0; slot < problem.num_slots(); ++slot)
        placement.expert_ids.push_back(slot % problem.slots_per_rank % problem.num_experts);
    return placement;
}

int doubled(int number, int round) {
    return number << std::min(round, kMaxDoublings);
}

int steps_of_slots(const PlacementProblem& problem, int steps_per_slot) {
    constexpr std::int64_t kMost = 1 << 24;
    return static_cast<int>(
        std::min(kMost, static_cast<std::int64_t>(steps_per_slot) * problem.num_slots()));
}

SlotTable search_aggregated(const PlacementProblem& problem, double bound, int round) {
    const double close =
        problem.slots_per_rank <= kFewSlots ? kCloseEnoughAtFewSlots : kCloseEnough;
    return place_aggregated(problem,
                            {.target = bound + close * problem.mean_load() / doubled(1, round),
                             .num_steps = doubled(kAggregatedSteps, round),
                             .seed = static_cast<std::uint64_t>(round)});
}

// The placement of the best value within the budget: what the sends saved are worth, less the risk.
// High prices end in poor local optima, so that lower ones are tried too.
void descend_for_traffic(const PlacementProblem& problem,
                         const PlacerOptions& options,
                         int round,
                         RiskSearch& search) {
    const auto value = [&](const RiskSearch& of) {
        return options.co_occurrence * of.saved_sends() / problem.top_k - of.risk();
    };
    const RiskSearch start = search;
    const double limit = start.risk() + options.imbalance_tolerance;
    double weight = options.co_occurrence;
    for (int trial = 0; trial < kTrafficTrials; ++trial, weight /= 2) {
        RiskSearch other = start;
        other.set_traffic_weight(weight);
        anneal(other, {.num_steps = doubled(kTrafficSteps, round),
                       .first_temperature = 1e-3,
                       .seed = static_cast<std::uint64_t>(round)});
        if (other.risk() <= limit && value(other) > value(search))
            search = std::move(other);
    }
}

int steps_of_samples(const PlacementProblem& problem, const Schedule& schedule) {
    return std::min({steps_of_slots(problem, schedule.num_steps),
                     kMostSampleStepsTimesScenarios / problem.num_scenarios(),
                     kMostSampleStepsTimesExperts / problem.num_experts});
}

SlotTable search_risk(const PlacementProblem& problem,
                      const PlacerOptions& options,
                      double bound,
                      int round,
                      double& beta) {
    const bool is_free = problem.slots_per_rank >= kSlotsForFreeReplicas;
    const bool has_workloads = options.objective == Objective::risk && problem.num_scenarios() > 1;
    // with two or three slots per rank single experts decide, and normal loads say little; the
    // quadratic part knows nothing of speeds
    const bool is_quadratic = options.objective == Objective::risk && problem.rank_speed.empty() &&
                              !(has_workloads && problem.slots_per_rank <= kSlotsOfSingleExperts);
    SlotTable start = pack_distinct(
        problem, problem.load, replicate(problem, problem.load, is_free ? kReplicaExponent : 0));
    Schedule schedule;
    if (is_quadratic) {
        const int num_steps = has_workloads ? kQuadraticStepsOfWorkloads : kQuadraticSteps;
        start = anneal_quadratic(
            problem, is_free ? std::move(start) : search_aggregated(problem, bound, 0),
            doubled(steps_of_slots(problem, num_steps), round), static_cast<std::uint64_t>(round));
        schedule = has_workloads ? kRiskScheduleOfWorkloads : kRiskSchedule;
        schedule.num_steps = steps_of_slots(problem, schedule.num_steps);
    } else {
        schedule = has_workloads ? kFewSlotsScheduleOfWorkloads : kSamplesSchedule;
        schedule.num_steps = steps_of_samples(problem, schedule);
    }
    schedule.num_steps = doubled(schedule.num_steps, round);
    schedule.seed = static_cast<std::uint64_t>(round);
    RiskSearch search(problem, std::move(start));
    anneal(search, schedule);
    if (has_workloads)
        descend(search, kSweepsOfWorkloads);
    beta = search.beta();
    const double limit = bound + options.tolerance * problem.mean_load();
    if (options.co_occurrence > 0 && problem.cooccurrence != nullptr)
        descend_for_traffic(problem, options, round, search);
    search.limit_fullest(limit);
    return search.table();
}

Placed place_round(const PlacementProblem& problem,
                   const Deployment& deployment,
                   const PlacerOptions& options,
                   int round);

Placed place_on_nodes(const PlacementProblem& problem,
                      const Deployment& deployment,
                      const PlacerOptions& options,
                      int round) {
    Deployment node = deployment;
    node.num_nodes = node.num_groups = 1;
    const std::vector<std::vector<int>> experts =
        assign_to_nodes(problem, deployment, [&](const PlacementProblem& groups) {
            return place_round(groups, node, options, round).placement;
        });
    Placed placed{{problem.ep_size, problem.slots_per_rank, {}}, 0};
    for (int i = 0; i < deployment.num_nodes; ++i) {
        const std::vector<int>& ids = experts[i];
        const Placed part =
            place_round(node_problem(problem, deployment, i, ids), node, options, round);
        for (const int position : part.placement.expert_ids)
            placed.placement.expert_ids.push_back(ids[position]);
        placed.beta = std::max(placed.beta, part.beta);
    }
    return placed;
}

Placed place_round(const PlacementProblem& problem,
                   const Deployment& deployment,
                   const PlacerOptions& options,
                   int round) {
    if (deployment.num_nodes > 1)
        return place_on_nodes(problem, deployment, options, round);
    if (problem.slots_per_rank >= problem.num_experts)
        return {place_everywhere(problem), 0};
    if (problem.mean_load() == 0) {
        const std::vector<double> even(problem.load.size(), 1.0);
        return {pack_distinct(problem, even, replicate(problem, even, 0)).placement(), 0};
    }
    if (problem.num_slots() == problem.num_experts && problem.slots_per_rank == 1)
        return {
            pack_distinct(problem, problem.load, replicate(problem, problem.load, 0)).placement(),
            0};  // there is nothing to choose but which speed
    const double bound = aggregated_bound(problem);
    if (options.objective == Objective::aggregated || !has_risk(problem))
        return {search_aggregated(problem, bound, round).placement(), 0};
    double beta = 0;
    SlotTable table = search_risk(problem, options, bound, round, beta);
    return {table.placement(), beta};
}

double score(const PlacementProblem& problem,
             const PlacerOptions& options,
             const Placement& placement,
             double beta) {
    SlotTable table(placement, problem.num_experts);
    if (beta == 0)
        return BalanceSearch(problem, std::move(table)).fullest_load();
    RiskSearch search(problem, std::move(table));
    search.set_beta(beta);
    return search.risk() - options.co_occurrence * search.saved_sends() / problem.top_k;
}

}  // namespace

Placed place(const PlacementProblem& problem,
             const Deployment& deployment,
             const PlacerOptions& options) {
    return place_round(problem, deployment, options, 0);
}

void improve(const PlacementProblem& problem,
             const Deployment& deployment,
             const PlacerOptions& options,
             int round,
             Placed& placed) {
    const bool is_everywhere =
        deployment.num_nodes == 1 && problem.slots_per_rank >= problem.num_experts;
    if (problem.mean_load() == 0 || is_everywhere)
        return;
    Placed other = place_round(problem, deployment, options, round);
    if (score(problem, options, other.placement, placed.beta) <
        score(problem, options, placed.placement, placed.beta))
        placed.placement = std::move(other.placement);
}

double imbalance_bound(const PlacementProblem& problem, const Deployment& deployment) {
    const double mean = problem.mean_load();
    if (mean == 0)
        return 0;
    double bound = aggregated_bound(problem);
    if (deployment.num_nodes > 1) {
        // no rank of the fullest node can be below the node's mean
        const PlacementProblem groups = group_problem(problem, deployment);
        bound = std::max(bound, aggregated_bound(groups) / groups.mean_load() * mean);
    }
    return bound / mean - 1;
}

}  // namespace eplb
