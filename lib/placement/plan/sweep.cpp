#include "lib/placement/plan/sweep.h"

#include <cmath>
#include <set>

#include "lib/base/error.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_samples.h"

namespace eplb {
namespace {

// A deployment with more slots has to save so much of the fullest rank's tokens.
constexpr double kLeastSaving = 0.01;

double mean_unbalanced(std::span<const Workload> workloads,
                       int ep_size,
                       DefaultPlacement* default_placement,
                       ThreadPool& threads) {
    const ExpertStatistics& first = *workloads.front().statistics;
    const Placement placement =
        default_placement(first.num_experts, ep_size, (first.num_experts + ep_size - 1) / ep_size);
    std::vector<double> layers(first.layers.size());
    threads.for_each(first.num_layers(), [&](std::int64_t layer) {
        double sum = 0;
        double weights = 0;
        for (const Workload& workload : workloads) {
            const LayerSamples samples(*workload.statistics, static_cast<int>(layer));
            const double mean = mean_of(
                iteration_imbalance({&samples, 0, samples.num_iterations()}, placement, {}));
            if (std::isnan(mean))
                continue;
            sum += workload.weight * mean;
            weights += workload.weight;
        }
        layers[layer] = weights > 0 ? sum / weights : kNotKnown;
    });
    return mean_of(layers);
}

void mark_best(std::vector<SweepRow>& rows) {
    double best_load = 0;
    int ep_size = 0;
    for (SweepRow& row : rows) {
        const double load = 1 + row.imbalance;
        row.is_best = row.ep_size != ep_size || load < best_load * (1 - kLeastSaving);
        if (row.is_best)
            best_load = load;
        ep_size = row.ep_size;
    }
}

}  // namespace

bool is_possible(PlanRequest request, int ep_size, int num_slots, int num_experts) {
    request.ep_size = ep_size;
    request.num_slots = num_slots;
    try {
        check_plan_request(request, num_experts);
    } catch (const UsageError&) {
        return false;
    }
    return true;
}

std::vector<SweepRow> sweep(std::span<const Workload> workloads,
                            const SweepRequest& request,
                            const std::function<void(int done, int total)>& progress,
                            ThreadPool& threads) {
    const ExpertStatistics& first = *workloads.front().statistics;
    std::set<std::pair<int, int>> deployments;
    for (const int ep_size : request.ep_sizes)
        for (const int slots : request.num_slots)
            if (is_possible(request.plan, ep_size, slots, first.num_experts))
                deployments.emplace(ep_size, slots);
    if (deployments.empty())
        throw UsageError("no num_slots given is a multiple of an ep_size given, holds the " +
                         std::to_string(first.num_experts) + " experts and fits the other options");

    for (const int ep_size : request.ep_sizes) {
        const int fewest = slot_candidates(request.plan, ep_size, first.num_experts).front();
        if (is_possible(request.plan, ep_size, fewest, first.num_experts))
            deployments.emplace(ep_size, fewest);
    }

    std::vector<SweepRow> rows;
    double unbalanced = 0;
    for (const auto& [ep_size, slots] : deployments) {
        if (rows.empty() || rows.back().ep_size != ep_size)
            unbalanced = mean_unbalanced(workloads, ep_size, request.default_placement, threads);
        PlanRequest trial = request.plan;
        trial.ep_size = ep_size;
        trial.num_slots = slots;
        const Plan plan = make_plan(workloads, trial, {.predict = true, .progress = {}}, threads);
        SweepRow row;
        row.imbalance = planned_imbalance(plan);
        row.is_prediction = plan.basis != PredictionBasis::none;
        row.bound = mean_over_layers(plan, &LayerPlan::bound);
        row.ep_size = ep_size;
        row.num_slots = slots;
        row.unbalanced = unbalanced;
        row.token_ratio = (1 + unbalanced) / (1 + row.imbalance);
        row.bytes_per_rank = static_cast<double>(slots) / ep_size * request.bytes_per_expert *
                             static_cast<double>(first.layers.size());
        rows.push_back(row);
        if (progress)
            progress(static_cast<int>(rows.size()), static_cast<int>(deployments.size()));
    }
    mark_best(rows);
    return rows;
}

double planned_imbalance(const Plan& plan) {
    return mean_over_layers(
        plan, plan.basis != PredictionBasis::none ? &LayerPlan::predicted : &LayerPlan::fitted);
}

std::vector<int> slot_candidates(const PlanRequest& request, int ep_size, int num_experts) {
    const int needed = num_experts * request.min_replicas;
    const int fewest = (needed + ep_size - 1) / ep_size;
    std::vector<int> candidates;
    for (int per_rank = fewest; per_rank <= 2 * fewest; ++per_rank)
        candidates.push_back(per_rank * ep_size);
    return candidates;
}

}  // namespace eplb
