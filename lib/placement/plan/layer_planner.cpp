#include "lib/placement/plan/layer_planner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/placement/search/bound.h"
#include "lib/placement/search/noise_floor.h"
#include "lib/placement/upstream/cooccurrence_packing.h"
#include "lib/placement/upstream/hierarchical.h"
#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"

namespace eplb {
namespace {

// Of fewer, a half tells nothing of how iterations vary.
constexpr int kLeastToHoldOut = 4;

// How often weight moves to the workload that fares worst, and how little of its weight one may
// keep each time.
constexpr int kWorstRounds = 4;
constexpr double kLeastFactor = 0.1;

// A bound above this is worth telling how to lower.
constexpr double kForced = 0.01;

std::vector<float> as_floats(const std::vector<double>& counts) {
    // upstream hands its sums over as float32
    std::vector<float> load(counts.size());
    std::transform(counts.begin(), counts.end(), load.begin(),
                   [](double count) { return static_cast<float>(count); });
    return load;
}

// Mean number of times that a token takes both experts, workloads mixed by weight.
std::shared_ptr<const ExpertMatrix> mean_cooccurrence(std::span<const Workload> workloads,
                                                      int layer) {
    std::shared_ptr<ExpertMatrix> mixed;
    double total_weight = 0;
    for (const Workload& workload : workloads) {
        if (workload.cooccurrence == nullptr)
            continue;
        const ExpertCooccurrence& from = *workload.cooccurrence;
        const auto num_experts = static_cast<std::size_t>(from.num_experts);
        const std::int64_t num_tokens = from.num_tokens[layer];
        if (num_tokens == 0)
            continue;
        if (mixed == nullptr)
            mixed = std::make_shared<ExpertMatrix>(num_experts);
        total_weight += workload.weight;
        const std::span<const std::int64_t> counts = from.matrix(layer);
        for (std::size_t a = 0; a < num_experts; ++a)
            for (std::size_t b = 0; b < num_experts; ++b)
                if (a != b)
                    mixed->row(a)[b] += static_cast<float>(
                        workload.weight * static_cast<double>(counts[a * num_experts + b]) /
                        static_cast<double>(num_tokens));
    }
    if (mixed != nullptr)
        for (std::size_t a = 0; a < mixed->num_experts(); ++a)
            for (float& value : mixed->row(a))
                value /= static_cast<float>(total_weight);
    return mixed;
}

std::vector<float> summed_cooccurrence(std::span<const Workload> workloads, int layer) {
    std::vector<float> sums;
    for (const Workload& workload : workloads) {
        if (workload.cooccurrence == nullptr)
            throw Error(
                "trtllm-cooccurrence needs the experts that tokens took together: a folder "
                "with token_selected_experts_rank, rank*_raw or cooccurrence_rank files");
        const std::span<const std::int64_t> counts = workload.cooccurrence->matrix(layer);
        sums.resize(counts.size());
        for (std::size_t i = 0; i < counts.size(); ++i)
            sums[i] += static_cast<float>(counts[i]);
    }
    return sums;
}

}  // namespace

LayerPlanner::LayerPlanner(std::span<const Workload> workloads,
                           int layer,
                           const PlanRequest& request,
                           std::vector<Algorithm> candidates)
    : workloads_(workloads),
      layer_(layer),
      request_(request),
      deployment_(request.deployment()),
      candidates_(std::move(candidates)),
      basis_(basis(workloads)),
      fits_(candidates_.size()) {
    for (const Workload& workload : workloads)
        samples_.emplace_back(*workload.statistics, layer);
    problem_ = problem_of(all(), candidates_.front());
}

PredictionBasis LayerPlanner::basis(std::span<const Workload> workloads) {
    if (std::all_of(workloads.begin(), workloads.end(), [](const Workload& workload) {
            return workload.statistics->num_iterations >= kLeastToHoldOut;
        }))
        return PredictionBasis::iterations;
    return workloads.size() > 1 ? PredictionBasis::workloads : PredictionBasis::none;
}

std::vector<SampleRange> LayerPlanner::all() const {
    std::vector<SampleRange> ranges;
    for (std::size_t w = 0; w < samples_.size(); ++w)
        ranges.push_back({&samples_[w], 0, samples_[w].num_iterations(), workloads_[w].weight});
    return ranges;
}

PlacementProblem LayerPlanner::problem_of(std::span<const SampleRange> ranges,
                                          Algorithm algorithm) const {
    PlacementProblem problem = make_problem(ranges, deployment_, objective_of(algorithm));
    if (request_.co_occurrence > 0 && objective_of(algorithm) != Objective::aggregated)
        problem.cooccurrence = mean_cooccurrence(workloads_, layer_);
    return problem;
}

PlacerOptions LayerPlanner::options_of(Algorithm algorithm) const {
    return {.objective = objective_of(algorithm),
            .tolerance = request_.tolerance,
            .co_occurrence = request_.co_occurrence,
            .imbalance_tolerance = request_.imbalance_tolerance};
}

Placed LayerPlanner::place_upstream(Algorithm algorithm,
                                    std::span<const SampleRange> ranges) const {
    const std::vector<float> load = as_floats(mixed_counts(ranges));
    if (algorithm == Algorithm::deepseek)
        return {place_deepseek(load, request_.ep_size, request_.num_slots, request_.num_nodes,
                               request_.num_groups)};
    const std::vector<int> replica_count = replicate_greedy(load, request_.num_slots);
    if (algorithm == Algorithm::trtllm_cooccurrence)
        return {pack_cooccurrence(load, replica_count, summed_cooccurrence(workloads_, layer_),
                                  request_.ep_size, deployment_.slots_per_rank())};
    return {pack_greedy(load, replica_count, request_.ep_size, deployment_.slots_per_rank())};
}

std::vector<double> LayerPlanner::imbalances(std::span<const SampleRange> ranges,
                                             const Placement& placement) const {
    std::vector<double> means;
    for (const SampleRange& range : ranges) {
        const double mean = mean_of(iteration_imbalance(range, placement, deployment_.rank_speed));
        means.push_back(std::isnan(mean) ? 0 : mean);
    }
    return means;
}

bool LayerPlanner::favours_worst(Algorithm algorithm, std::size_t num_workloads) const {
    return objective_of(algorithm) != Objective::aggregated && request_.robust == Robust::worst &&
           num_workloads > 1;
}

double LayerPlanner::worst_imbalance(const Placement& placement) const {
    const std::vector<double> means = imbalances(all(), placement);
    return *std::max_element(means.begin(), means.end());
}

void LayerPlanner::favour_worst(std::vector<SampleRange> ranges,
                                Algorithm algorithm,
                                Placed& placed) const {
    std::vector<double> means = imbalances(ranges, placed.placement);
    double worst = *std::max_element(means.begin(), means.end());
    for (int round = 0; round < kWorstRounds && worst > 0; ++round) {
        const double highest = *std::max_element(means.begin(), means.end());
        for (std::size_t w = 0; w < ranges.size(); ++w)
            ranges[w].weight *= std::max(means[w] / highest, kLeastFactor);
        Placed other = place(problem_of(ranges, algorithm), deployment_, options_of(algorithm));
        means = imbalances(ranges, other.placement);
        const double others_worst = *std::max_element(means.begin(), means.end());
        if (others_worst < worst) {
            worst = others_worst;
            placed.placement = std::move(other.placement);
        }
    }
}

Placed LayerPlanner::search(const PlacementProblem& problem,
                            Algorithm algorithm,
                            std::span<const SampleRange> ranges) const {
    Placed placed = place(problem, deployment_, options_of(algorithm));
    if (favours_worst(algorithm, ranges.size()))
        favour_worst({ranges.begin(), ranges.end()}, algorithm, placed);
    return placed;
}

Placement LayerPlanner::fit_to(std::size_t candidate, std::span<const SampleRange> ranges) {
    const Algorithm algorithm = candidates_[candidate];
    if (is_search(algorithm))
        return search(problem_of(ranges, algorithm), algorithm, ranges).placement;
    return place_upstream(algorithm, ranges).placement;
}

const Placed& LayerPlanner::fit(std::size_t candidate) {
    Placed& placed = fits_[candidate];
    if (placed.placement.ep_size > 0)
        return placed;
    const Algorithm algorithm = candidates_[candidate];
    if (is_search(algorithm))
        placed = candidate == 0 ? search(problem_, algorithm, all())
                                : search(problem_of(all(), algorithm), algorithm, all());
    else
        placed = place_upstream(algorithm, all());
    return placed;
}

void LayerPlanner::improve(std::size_t candidate, int round) {
    const Algorithm algorithm = candidates_[candidate];
    if (!is_search(algorithm))
        return;
    Placed better = fit(candidate);
    eplb::improve(problem_, deployment_, options_of(algorithm), round, better);
    if (!favours_worst(algorithm, samples_.size()) ||
        worst_imbalance(better.placement) < worst_imbalance(fits_[candidate].placement))
        fits_[candidate] = std::move(better);
}

void LayerPlanner::release() {
    problem_.covariance.reset();
    problem_.cooccurrence.reset();
}

void LayerPlanner::test(const std::vector<SampleRange>& train,
                        const std::vector<SampleRange>& tests,
                        const std::vector<int>& workloads,
                        int fold,
                        CrossValidation& into) {
    into.imbalance.resize(candidates_.size());
    int position = static_cast<int>(into.imbalance.front().size());
    for (std::size_t i = 0; i < tests.size(); ++i) {
        const int size = tests[i].end - tests[i].begin;
        into.segments.push_back({fold, workloads[i], position, position + size});
        position += size;
    }
    const bool has_tokens = std::any_of(train.begin(), train.end(), [](const SampleRange& range) {
        for (int i = range.begin; i < range.end; ++i)
            if (range.samples->total(i) > 0)
                return true;
        return false;
    });
    for (std::size_t candidate = 0; candidate < candidates_.size(); ++candidate) {
        if (!has_tokens) {  // fitted to nothing, there is nothing to test
            into.imbalance[candidate].resize(position, kNotKnown);
            continue;
        }
        const Placement placement = fit_to(candidate, train);
        for (const SampleRange& range : tests) {
            const std::vector<double> values =
                iteration_imbalance(range, placement, deployment_.rank_speed);
            into.imbalance[candidate].insert(into.imbalance[candidate].end(), values.begin(),
                                             values.end());
        }
    }
}

const CrossValidation& LayerPlanner::halves() {
    if (halves_ != nullptr)
        return *halves_;
    halves_ = std::make_unique<CrossValidation>();
    std::vector<SampleRange> first = all();
    std::vector<SampleRange> second = first;
    std::vector<int> workloads(first.size());
    std::iota(workloads.begin(), workloads.end(), 0);
    for (std::size_t w = 0; w < first.size(); ++w)
        first[w].end = second[w].begin = first[w].end / 2;
    test(first, second, workloads, 0, *halves_);
    test(second, first, workloads, 1, *halves_);
    return *halves_;
}

const CrossValidation& LayerPlanner::left_out() {
    if (left_out_ != nullptr)
        return *left_out_;
    left_out_ = std::make_unique<CrossValidation>();
    for (std::size_t w = 0; w < samples_.size(); ++w) {
        std::vector<SampleRange> others = all();
        const SampleRange left = others[w];
        others.erase(others.begin() + w);
        test(others, {left}, {static_cast<int>(w)}, static_cast<int>(w), *left_out_);
    }
    return *left_out_;
}

std::vector<double> LayerPlanner::alone(std::size_t candidate) {
    std::vector<double> means;
    for (const SampleRange& range : all()) {
        const auto tested = [&](const SampleRange& train, const SampleRange& on) {
            return iteration_imbalance(on, fit_to(candidate, {&train, 1}), deployment_.rank_speed);
        };
        if (basis_ != PredictionBasis::iterations) {
            means.push_back(mean_of(tested(range, range)));
            continue;
        }
        SampleRange first = range;
        SampleRange second = range;
        first.end = second.begin = range.end / 2;
        std::vector<double> values = tested(first, second);
        const std::vector<double> others = tested(second, first);
        values.insert(values.end(), others.begin(), others.end());
        means.push_back(mean_of(values));
    }
    return means;
}

double LayerPlanner::imbalance_of(std::size_t workload, const Placement& placement) const {
    return mean_of(iteration_imbalance(all()[workload], placement, deployment_.rank_speed));
}

int LayerPlanner::slots_to_lift() const {
    if (deployment_.num_nodes == 1)
        return fewest_slots(problem_, kForced);
    PlacementProblem trial = problem_;
    for (++trial.slots_per_rank; trial.slots_per_rank <= trial.num_experts; ++trial.slots_per_rank)
        if (imbalance_bound(trial, deployment_) <= kForced)
            return trial.num_slots();
    return 0;
}

LayerPlan LayerPlanner::result(std::size_t candidate) {
    LayerPlan plan;
    plan.placement = fit(candidate).placement;
    plan.algorithm = candidates_[candidate];
    plan.has_tokens = problem_.num_scenarios() > 0;
    if (!plan.has_tokens)
        return plan;
    plan.aggregated = imbalance(problem_.load, plan.placement, deployment_.rank_speed);
    // what is left of rounding is nothing
    const auto cleaned = [](double ratio) { return ratio < 1e-9 ? 0.0 : ratio; };
    plan.aggregated = cleaned(plan.aggregated);
    plan.bound = cleaned(std::min(imbalance_bound(problem_, deployment_), plan.aggregated));

    if (plan.bound > kForced)
        plan.slots_to_lift = slots_to_lift();

    double weight = 0;
    double ids_per_rank = 0;
    double fitted = 0;
    bool has_iterations = true;
    for (const SampleRange& range : all()) {
        const double mean =
            mean_of(iteration_imbalance(range, plan.placement, deployment_.rank_speed));
        if (std::isnan(mean))
            continue;
        weight += range.weight;
        fitted += range.weight * mean;
        double total = 0;
        int count = 0;
        for (int i = range.begin; i < range.end; ++i)
            if (range.samples->total(i) > 0) {
                total += range.samples->total(i);
                ++count;
            }
        ids_per_rank += range.weight * total / count / deployment_.ep_size;
        has_iterations &= count > 1;
    }
    plan.fitted = fitted / weight;
    if (has_iterations)
        plan.noise_floor =
            noise_floor(problem_, sampling_variance(problem_.load, deployment_.ep_size,
                                                    problem_.top_k, ids_per_rank / weight));
    return plan;
}

}  // namespace eplb
