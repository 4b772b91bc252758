#include "lib/placement/plan/update.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "lib/placement/plan/alignment.h"
#include "lib/placement/plan/bounded_moves.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_samples.h"

namespace eplb {
namespace {

// What a placement is fitted to, and what it is tested on.
struct Fold {
    std::vector<SampleRange> train;
    std::vector<SampleRange> tests;
};

// What the plan heeds, and so must what is made of it: deployment() leaves out the nodes and groups
// of algorithms that are not ours, of which deepseek heeds them where nodes can share the groups
// out.
Deployment heeded_deployment(const PlanRequest& request) {
    Deployment deployment = request.deployment();
    if (request.algorithm == Algorithm::deepseek && request.num_groups % request.num_nodes == 0) {
        deployment.num_nodes = request.num_nodes;
        deployment.num_groups = request.num_groups;
    }
    return deployment;
}

// One layer of the plan and of what is in force.
class LayerUpdater {
  public:
    LayerUpdater(std::span<const Workload> workloads,
                 int layer,
                 const PlanRequest& request,
                 const Placement& current,
                 PredictionBasis basis)
        : request_(request),
          deployment_(heeded_deployment(request)),
          current_(current),
          basis_(basis) {
        for (const Workload& workload : workloads)
            samples_.emplace_back(*workload.statistics, layer);
        for (std::size_t w = 0; w < samples_.size(); ++w)
            all_.push_back({&samples_[w], 0, samples_[w].num_iterations(), workloads[w].weight});
    }

    double mean_imbalance(const Placement& placement) const {
        return mean_imbalance(all_, placement);
    }

    double aggregated(const Placement& placement) const {
        return imbalance(make_problem(all_, deployment_, Objective::aggregated).load, placement,
                         deployment_.rank_speed);
    }

    // The same for any bound, so that a higher one is never worse; the aligned plan included.
    MoveCurve curve(const LayerPlan& plan) const {
        MoveCurve points = curve_of(all_, plan.algorithm, current_.num_slots());
        if (plan.has_tokens)
            points.push_back(
                {num_moves(plan.placement, current_), value(all_, plan.placement), plan.placement});
        return best_points(std::move(points));
    }

    // What `max_moves` give on iterations, or workloads, that they were not chosen by.
    double predicted(Algorithm algorithm, int max_moves) const {
        if (max_moves == 0)
            return mean_imbalance(all_, current_);
        double sum = 0;
        double weights = 0;
        for (const Fold& fold : folds()) {
            const Placement placement = curve_of(fold.train, algorithm, max_moves).back().placement;
            for (const SampleRange& range : fold.tests) {
                const double mean =
                    mean_of(iteration_imbalance(range, placement, deployment_.rank_speed));
                if (std::isnan(mean))
                    continue;
                sum += range.weight * mean;
                weights += range.weight;
            }
        }
        return weights > 0 ? sum / weights : kNotKnown;
    }

  private:
    std::vector<Fold> folds() const {
        std::vector<Fold> folds;
        if (basis_ == PredictionBasis::iterations) {
            std::vector<SampleRange> first = all_;
            std::vector<SampleRange> second = all_;
            for (std::size_t w = 0; w < all_.size(); ++w)
                first[w].end = second[w].begin = all_[w].end / 2;
            folds = {{first, second}, {second, first}};
        }
        if (basis_ == PredictionBasis::workloads)
            for (std::size_t w = 0; w < all_.size(); ++w) {
                folds.push_back({all_, {all_[w]}});
                folds.back().train.erase(folds.back().train.begin() +
                                         static_cast<std::ptrdiff_t>(w));
            }
        return folds;
    }

    std::vector<double> means(std::span<const SampleRange> ranges,
                              const Placement& placement) const {
        std::vector<double> means;
        for (const SampleRange& range : ranges)
            means.push_back(mean_of(iteration_imbalance(range, placement, deployment_.rank_speed)));
        return means;
    }

    // By weight; NaN where there are no tokens.
    double mean_imbalance(std::span<const SampleRange> ranges, const Placement& placement) const {
        const std::vector<double> of_workloads = means(ranges, placement);
        double sum = 0;
        double weights = 0;
        for (std::size_t w = 0; w < ranges.size(); ++w)
            if (!std::isnan(of_workloads[w])) {
                sum += ranges[w].weight * of_workloads[w];
                weights += ranges[w].weight;
            }
        return weights > 0 ? sum / weights : kNotKnown;
    }

    // What points of a curve are compared by; 0 where there are no tokens.
    double value(std::span<const SampleRange> ranges, const Placement& placement) const {
        if (request_.robust == Robust::mean) {
            const double mean = mean_imbalance(ranges, placement);
            return std::isnan(mean) ? 0 : mean;
        }
        double worst = 0;
        for (const double mean : means(ranges, placement))
            if (!std::isnan(mean))
                worst = std::max(worst, mean);
        return worst;
    }

    MoveCurve curve_of(std::span<const SampleRange> ranges,
                       Algorithm algorithm,
                       int max_moves) const {
        return move_curve(make_problem(ranges, deployment_, objective_of(algorithm)), deployment_,
                          current_, max_moves,
                          [&](const Placement& placement) { return value(ranges, placement); });
    }

    const PlanRequest& request_;
    Deployment deployment_;
    const Placement& current_;
    PredictionBasis basis_;
    std::vector<LayerSamples> samples_;  // [num_workloads]
    std::vector<SampleRange> all_;       // [num_workloads]
};

class Updater {
  public:
    Updater(std::span<const Workload> workloads,
            const PlanRequest& request,
            const UpdateRequest& update,
            ThreadPool& threads,
            Plan& plan)
        : workloads_(workloads),
          request_(request),
          update_(update),
          threads_(threads),
          plan_(plan) {}

    std::vector<LayerUpdate> run() {
        align_layers();
        if (update_.max_moves)
            bound_moves(*update_.max_moves);
        std::vector<LayerUpdate> updates(plan_.layers.size());
        for_each_layer([&](std::size_t layer) {
            LayerUpdate& result = updates[layer];
            result.rank_moves =
                moves_per_rank(plan_.layers[layer].placement, update_.current[layer]);
            result.current_imbalance = updater(layer).mean_imbalance(update_.current[layer]);
        });
        return updates;
    }

  private:
    template <typename Body>
    void for_each_layer(const Body& body) {
        threads_.for_each(static_cast<std::int64_t>(plan_.layers.size()),
                          [&](std::int64_t layer) { body(static_cast<std::size_t>(layer)); });
    }

    LayerUpdater updater(std::size_t layer) const {
        return LayerUpdater(workloads_, static_cast<int>(layer), request_, update_.current[layer],
                            plan_.basis);
    }

    void align_layers() {
        for_each_layer([&](std::size_t layer) {
            Placement& placement = plan_.layers[layer].placement;
            placement = align(placement, update_.current[layer],
                              heeded_deployment(request_).num_nodes, request_.rank_speed);
        });
    }

    void bound_moves(int max_moves) {
        const Deployment deployment = heeded_deployment(request_);
        const ExpertStatistics& first = *workloads_.front().statistics;
        for (std::size_t layer = 0; layer < plan_.layers.size(); ++layer)
            check_start(update_.current[layer], deployment, first.num_experts,
                        update_.name + ": layer " + std::to_string(first.layers[layer]));
        std::vector<MoveCurve> curves(plan_.layers.size());
        for_each_layer(
            [&](std::size_t layer) { curves[layer] = updater(layer).curve(plan_.layers[layer]); });
        const std::vector<std::size_t> points = distribute_moves(curves, max_moves);
        bool is_changed = false;
        for (std::size_t layer = 0; layer < plan_.layers.size(); ++layer)
            is_changed |= curves[layer][points[layer]].placement != plan_.layers[layer].placement;
        if (!is_changed)
            return;
        for_each_layer([&](std::size_t layer) {
            const MovePoint& point = curves[layer][points[layer]];
            if (point.placement != plan_.layers[layer].placement)
                replace(layer, point);
            plan_.layers[layer].workloads.clear();
        });
        plan_.has_unseen_workload = false;
        if (plan_.basis == PredictionBasis::none)
            return;
        Prediction& prediction = plan_.prediction;
        prediction.imbalance = mean_over_layers(plan_, &LayerPlan::predicted);
        prediction.ratio = prediction.imbalance / prediction.baseline;
        prediction.ratio_low = prediction.ratio_high = kNotKnown;
    }

    void replace(std::size_t layer, const MovePoint& point) {
        LayerPlan& plan = plan_.layers[layer];
        plan.placement = point.placement;
        if (!plan.has_tokens)
            return;
        const LayerUpdater of_layer = updater(layer);
        plan.aggregated = of_layer.aggregated(plan.placement);
        plan.fitted = of_layer.mean_imbalance(plan.placement);
        if (plan_.basis != PredictionBasis::none)
            plan.predicted = of_layer.predicted(plan.algorithm, point.num_moves);
    }

    std::span<const Workload> workloads_;
    const PlanRequest& request_;
    const UpdateRequest& update_;
    ThreadPool& threads_;
    Plan& plan_;
};

}  // namespace

int LayerUpdate::num_moves() const {
    return std::accumulate(rank_moves.begin(), rank_moves.end(), 0);
}

std::vector<LayerUpdate> update_plan(std::span<const Workload> workloads,
                                     const PlanRequest& request,
                                     const UpdateRequest& update,
                                     ThreadPool& threads,
                                     Plan& plan) {
    assert(update.current.size() == plan.layers.size());
    return Updater(workloads, request, update, threads, plan).run();
}

}  // namespace eplb
