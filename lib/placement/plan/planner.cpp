#include "lib/placement/plan/planner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_planner.h"

namespace eplb {
namespace {

// With more experts a search over samples takes longer than one of risk, and has to be better.
constexpr int kExpertsOfQuickSamples = 128;
constexpr int kScreenedLayers = 4;  // tell whether it is

// Whether the mean is above 0 by more than chance, twice its standard error.
bool is_likely_positive(const std::vector<double>& values) {
    const double mean = mean_of(values);
    double squares = 0;
    for (const double value : values)
        squares += (value - mean) * (value - mean);
    const auto count = static_cast<double>(values.size());
    return count > 1 && mean > 2 * std::sqrt(squares / (count - 1) / count);
}

// Where there is no choice to be tested, or none left.
std::vector<Algorithm> candidates_of(std::span<const Workload> workloads,
                                     const PlanRequest& request) {
    if (request.algorithm == Algorithm::greedy)
        return {Algorithm::greedy};
    if (request.algorithm != Algorithm::automatic)
        return {request.algorithm, Algorithm::greedy};
    const bool has_variance =
        std::any_of(workloads.begin(), workloads.end(), [](const Workload& workload) {
            return workload.statistics->num_sources > 1 || workload.statistics->num_iterations > 1;
        });
    return {has_variance ? Algorithm::samples : Algorithm::aggregated, Algorithm::greedy};
}

// stretches of iterations that each segment of a cross-validation is cut into
constexpr int kBlocksPerSegment = 5;

void check_workloads(std::span<const Workload> workloads) {
    for (const Workload& workload : workloads) {
        const ExpertStatistics& statistics = *workload.statistics;
        const ExpertStatistics& first = *workloads.front().statistics;
        if (statistics.ids == IdKind::slot)
            throw Error(
                "statistics: the ids are slots of a config, not experts; fold them with the "
                "config that was in force during the recording");
        if (statistics.num_experts != first.num_experts || statistics.top_k != first.top_k ||
            statistics.layers != first.layers)
            throw Error(
                "statistics: workloads of different experts, top_k or layers cannot share a "
                "placement");
    }
}

// Values of positions, averaged over the layers.
std::vector<PredictionBlock> cut_blocks(const CrossValidation& shape,
                                        const std::vector<double>& chosen,
                                        const std::vector<double>& greedy,
                                        std::span<const Workload> workloads,
                                        int blocks_per_segment) {
    std::vector<PredictionBlock> blocks;
    for (const CrossValidation::Segment& segment : shape.segments) {
        const int size = segment.end - segment.begin;
        const double weight = workloads[segment.workload].weight / size;
        const int num_blocks = std::min(blocks_per_segment, size);
        for (int block = 0; block < num_blocks; ++block) {
            PredictionBlock sums;
            for (int i = segment.begin + size * block / num_blocks;
                 i < segment.begin + size * (block + 1) / num_blocks; ++i) {
                if (std::isnan(chosen[i]))
                    continue;
                sums.imbalance += weight * chosen[i];
                sums.baseline += weight * greedy[i];
                sums.weight += weight;
            }
            if (sums.weight > 0)
                blocks.push_back(sums);
        }
    }
    return blocks;
}

class Planner {
  public:
    Planner(std::span<const Workload> workloads,
            const PlanRequest& request,
            const PlanScope& scope,
            ThreadPool& threads)
        : workloads_(workloads),
          request_(request),
          scope_(scope),
          threads_(threads),
          candidates_(candidates_of(workloads, request)),
          start_(std::chrono::steady_clock::now()) {
        plan_.basis = scope.predict ? LayerPlanner::basis(workloads) : PredictionBasis::none;
        planners_.resize(workloads.front().statistics->layers.size());
        chosen_.resize(planners_.size(), 0);
        plan_.layers.resize(planners_.size());
    }

    Plan run() {
        const bool has_choice = request_.algorithm == Algorithm::automatic &&
                                LayerPlanner::basis(workloads_) != PredictionBasis::none;
        if (has_choice)
            candidates_ = {better_search(), Algorithm::aggregated, Algorithm::greedy};
        plan_.search = candidates_.front();
        greedy_ = candidates_.size() - 1;
        for_each_layer([&](std::size_t layer) {
            planners_[layer] = std::make_unique<LayerPlanner>(workloads_, static_cast<int>(layer),
                                                              request_, candidates_);
            fit(*planners_[layer]);
        });
        if (has_choice)
            choose();
        search_on();
        for_each_layer([&](std::size_t layer) {
            plan_.layers[layer] = planners_[layer]->result(chosen_[layer]);
            predict_layer(layer);
        });
        if (plan_.basis != PredictionBasis::none)
            plan_.prediction = predict_all(validation_of(plan_.basis));
        if (plan_.basis == PredictionBasis::iterations)
            widen(plan_.prediction);
        if (scope_.predict && workloads_.size() > 1) {
            plan_.has_unseen_workload = true;
            plan_.unseen_workload = plan_.basis == PredictionBasis::workloads
                                        ? plan_.prediction
                                        : predict_all(&LayerPlanner::left_out);
        }
        return std::move(plan_);
    }

  private:
    using Validation = const CrossValidation& (LayerPlanner::*)();

    static Validation validation_of(PredictionBasis basis) {
        return basis == PredictionBasis::iterations ? &LayerPlanner::halves
                                                    : &LayerPlanner::left_out;
    }

    template <typename Body>
    void for_each_layer(const Body& body) {
        threads_.for_each(static_cast<std::int64_t>(planners_.size()),
                          [&](std::int64_t layer) { body(static_cast<std::size_t>(layer)); });
    }

    // Most of what takes time.
    void fit(LayerPlanner& planner) {
        // greedy is fitted to everything only where it was asked for
        for (std::size_t candidate = 0; candidate < std::max<std::size_t>(greedy_, 1); ++candidate)
            planner.fit(candidate);
        if (plan_.basis == PredictionBasis::iterations)
            planner.halves();
        if (scope_.predict && workloads_.size() > 1)
            planner.left_out();
        if (request_.time_limit == 0)
            planner.release();
        if (scope_.progress) {
            const std::lock_guard lock(mutex_);
            scope_.progress(++num_done_, static_cast<int>(planners_.size()));
        }
    }

    // Samples, unless there is nothing to test it on, or a test of some layers does not speak for
    // it where it is slow.
    Algorithm better_search() {
        if (LayerPlanner::basis(workloads_) != PredictionBasis::iterations)
            return Algorithm::risk;
        if (workloads_.front().statistics->num_experts <= kExpertsOfQuickSamples)
            return Algorithm::samples;
        const int num_layers = static_cast<int>(planners_.size());
        const int num_screened = std::min(num_layers, kScreenedLayers);
        std::vector<double> gain(num_screened);  // of samples against risk, logarithmic
        threads_.for_each(num_screened, [&](std::int64_t i) {
            LayerPlanner planner(workloads_, static_cast<int>(i) * num_layers / num_screened,
                                 request_, {Algorithm::samples, Algorithm::risk});
            const CrossValidation& tests = planner.halves();
            const auto all = [](const auto&) { return true; };
            gain[i] = std::log(mean_of_segments(tests, 1, all) / mean_of_segments(tests, 0, all));
        });
        std::erase_if(gain, [](double value) { return !std::isfinite(value); });
        return is_likely_positive(gain) ? Algorithm::samples : Algorithm::risk;
    }

    // The search, the first candidate, where it does better than aggregated, the second.
    void choose() {
        const Validation validation = validation_of(LayerPlanner::basis(workloads_));
        std::vector<std::vector<double>> log_ratio(planners_.size());
        for_each_layer([&](std::size_t layer) {
            const CrossValidation& tests = (planners_[layer].get()->*validation)();
            int num_folds = 0;
            for (const auto& segment : tests.segments)
                num_folds = std::max(num_folds, segment.fold + 1);
            for (int fold = 0; fold < num_folds; ++fold) {
                const auto mean = [&](std::size_t candidate) {
                    return mean_of_segments(tests, candidate, [&](const auto& segment) {
                        return segment.fold == fold;
                    });
                };
                const double value = std::log(mean(0) / mean(1));
                if (std::isfinite(value))
                    log_ratio[layer].push_back(value);
            }
        });
        const std::vector<bool> is_risk = choose_challenger(log_ratio);
        double sum = 0;
        int count = 0;
        for (std::size_t layer = 0; layer < planners_.size(); ++layer) {
            chosen_[layer] = is_risk[layer] ? 0 : 1;
            plan_.num_searched_layers += is_risk[layer];
            sum += std::accumulate(log_ratio[layer].begin(), log_ratio[layer].end(), 0.0);
            count += static_cast<int>(log_ratio[layer].size());
        }
        if (count > 0)
            plan_.choice_ratio = std::exp(sum / count);
    }

    // Of the segments that `is_wanted`, by weight.
    template <typename IsWanted>
    double mean_of_segments(const CrossValidation& tests,
                            std::size_t candidate,
                            const IsWanted& is_wanted) const {
        double sum = 0;
        double weights = 0;
        for (const auto& segment : tests.segments) {
            if (!is_wanted(segment))
                continue;
            const double mean = segment_mean(tests, candidate, segment);
            const double weight = workloads_[segment.workload].weight;
            if (!std::isnan(mean)) {
                sum += weight * mean;
                weights += weight;
            }
        }
        return weights > 0 ? sum / weights : kNotKnown;
    }

    static double segment_mean(const CrossValidation& tests,
                               std::size_t candidate,
                               const CrossValidation::Segment& segment) {
        return mean_of(std::span(tests.imbalance[candidate])
                           .subspan(segment.begin, segment.end - segment.begin));
    }

    bool has_time() const {
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
        return passed.count() < request_.time_limit;
    }

    void search_on() {
        for (int round = 1; request_.time_limit > 0 && has_time(); ++round)
            for_each_layer([&](std::size_t layer) {
                if (has_time())
                    planners_[layer]->improve(chosen_[layer], round);
            });
    }

    // Means over folds and workloads by weight.
    void predict_layer(std::size_t layer) {
        LayerPlan& plan = plan_.layers[layer];
        LayerPlanner& planner = *planners_[layer];
        if (plan_.basis != PredictionBasis::none) {
            const CrossValidation& tests = (planner.*validation_of(plan_.basis))();
            const auto all = [](const auto&) { return true; };
            plan.predicted = mean_of_segments(tests, chosen_[layer], all);
            plan.predicted_greedy = mean_of_segments(tests, greedy_, all);
        }
        if (!scope_.predict || workloads_.size() < 2)
            return;
        const std::vector<double> alone = planner.alone(chosen_[layer]);
        const std::vector<double> greedy_alone = planner.alone(greedy_);
        for (std::size_t w = 0; w < workloads_.size(); ++w) {
            const auto mean = [&](const CrossValidation& tests, std::size_t candidate) {
                return mean_of_segments(tests, candidate, [&](const auto& segment) {
                    return segment.workload == static_cast<int>(w);
                });
            };
            WorkloadResult result;
            result.common = plan_.basis == PredictionBasis::iterations
                                ? mean(planner.halves(), chosen_[layer])
                                : planner.imbalance_of(w, plan.placement);
            result.alone = alone[w];
            result.greedy_alone = greedy_alone[w];
            result.left_out = mean(planner.left_out(), chosen_[layer]);
            result.greedy_left_out = mean(planner.left_out(), greedy_);
            plan.workloads.push_back(result);
        }
    }

    // From what the halves showed to what a fit to everything will do on later iterations. Those
    // vary as these did; and with twice the data the fit may be better. Where what can be learned
    // goes with one over the iterations T, imbalance is I + 2 c on the other half, I - c on the
    // data fitted to and I + c later: a third of the way from the first to the second.
    void widen(Prediction& prediction) const {
        const double learned =
            (2 * prediction.imbalance + mean_over_layers(plan_, &LayerPlan::fitted)) / 3;
        const auto spread = [&](double limit) {
            return prediction.ratio * std::pow(limit / prediction.ratio, std::sqrt(2.0));
        };
        prediction.ratio_high = spread(prediction.ratio_high);
        prediction.ratio_low =
            spread(prediction.ratio_low) * std::min(1.0, learned / prediction.imbalance);
    }

    Prediction predict_all(Validation validation) {
        const CrossValidation& shape = (planners_.front().get()->*validation)();
        const std::size_t num_positions = shape.imbalance.front().size();
        std::vector<double> chosen(num_positions);
        std::vector<double> greedy(num_positions);
        std::vector<int> num_layers(num_positions);
        for (std::size_t layer = 0; layer < planners_.size(); ++layer) {
            const CrossValidation& tests = (planners_[layer].get()->*validation)();
            for (std::size_t i = 0; i < num_positions; ++i)
                if (!std::isnan(tests.imbalance[greedy_][i])) {
                    chosen[i] += tests.imbalance[chosen_[layer]][i];
                    greedy[i] += tests.imbalance[greedy_][i];
                    ++num_layers[i];
                }
        }
        for (std::size_t i = 0; i < num_positions; ++i) {
            chosen[i] = num_layers[i] > 0 ? chosen[i] / num_layers[i] : kNotKnown;
            greedy[i] = num_layers[i] > 0 ? greedy[i] / num_layers[i] : kNotKnown;
        }
        return predict(cut_blocks(shape, chosen, greedy, workloads_,
                                  validation == &LayerPlanner::halves ? kBlocksPerSegment : 1));
    }

    std::span<const Workload> workloads_;
    const PlanRequest& request_;
    const PlanScope& scope_;
    ThreadPool& threads_;
    std::vector<Algorithm> candidates_;
    std::size_t greedy_ = 0;  // the last candidate
    std::chrono::steady_clock::time_point start_;
    std::vector<std::unique_ptr<LayerPlanner>> planners_;  // [layers]
    std::vector<std::size_t> chosen_;                      // [layers], candidates
    Plan plan_;
    std::mutex mutex_;
    int num_done_ = 0;
};

}  // namespace

double mean_over_layers(const Plan& plan, double LayerPlan::*figure) {
    std::vector<double> values;
    for (const LayerPlan& layer : plan.layers)
        values.push_back(layer.*figure);
    return mean_of(values);
}

Plan make_plan(std::span<const Workload> workloads,
               const PlanRequest& request,
               const PlanScope& scope,
               ThreadPool& threads) {
    check_workloads(workloads);
    check_plan_request(request, workloads.front().statistics->num_experts);
    if (workloads.front().statistics->layers.empty())
        return {};
    return Planner(workloads, request, scope, threads).run();
}

std::vector<Placement> plan(const ExpertStatistics& statistics,
                            const PlanRequest& request,
                            ThreadPool& threads) {
    const Workload workload = {&statistics, 1, nullptr};
    Plan plan = make_plan({&workload, 1}, request, {.predict = false, .progress = {}}, threads);
    std::vector<Placement> placements;
    for (LayerPlan& layer : plan.layers)
        placements.push_back(std::move(layer.placement));
    return placements;
}

}  // namespace eplb
