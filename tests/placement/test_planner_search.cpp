#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "lib/placement/plan/planner.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

namespace eplb::test_planner_search {

using eplb::Algorithm;
using eplb::ExpertStatistics;
using eplb::LayerPlan;
using eplb::make_plan;
using eplb::num_duplicate_slots;
using eplb::Placement;
using eplb::Plan;
using eplb::PlanRequest;
using eplb::PredictionBasis;
using eplb::replica_counts;
using eplb::Robust;
using eplb::ThreadPool;
using eplb::Workload;
using eplb::test::make_statistics;
using eplb::test::Random;

namespace {

// Counts whose level per expert is shared by all iterations, around which each has its own; a few
// experts rise together in half of the iterations.
ExpertStatistics varying_statistics(int num_layers,
                                    int num_iterations,
                                    int num_experts,
                                    unsigned seed) {
    ExpertStatistics statistics = make_statistics(num_layers, num_iterations, 2, num_experts);
    Random random(seed);
    for (int layer = 0; layer < num_layers; ++layer) {
        std::vector<double> level;
        for (int expert = 0; expert < num_experts; ++expert)
            level.push_back(100 / random.uniform());
        for (int i = 0; i < num_iterations; ++i)
            for (int source = 0; source < 2; ++source) {
                const auto row = statistics.row(i, layer, source);
                for (std::size_t expert = 0; expert < row.size(); ++expert) {
                    const double rise = expert % 4 == 0 && i % 2 == 0 ? 2 : 1;
                    row[expert] = static_cast<std::int64_t>(std::min(level[expert], 5000.0) * rise *
                                                            (0.7 + 0.6 * random.uniform()));
                }
            }
    }
    return statistics;
}

Plan full_plan(const std::vector<Workload>& workloads,
               const PlanRequest& request,
               int num_threads) {
    ThreadPool threads(num_threads);
    return make_plan(workloads, request, {}, threads);
}

// Equal, or both not known.
bool is_same(double left, double right) {
    return left == right || (std::isnan(left) && std::isnan(right));
}

void check_same(const Plan& left, const Plan& right) {
    REQUIRE(left.layers.size() == right.layers.size());
    for (std::size_t layer = 0; layer < left.layers.size(); ++layer) {
        const LayerPlan& a = left.layers[layer];
        const LayerPlan& b = right.layers[layer];
        CHECK(a.placement == b.placement);
        CHECK(a.algorithm == b.algorithm);
        for (double LayerPlan::*const figure :
             {&LayerPlan::aggregated, &LayerPlan::bound, &LayerPlan::noise_floor,
              &LayerPlan::fitted, &LayerPlan::predicted, &LayerPlan::predicted_greedy})
            CHECK(is_same(a.*figure, b.*figure));
        REQUIRE(a.workloads.size() == b.workloads.size());
        for (std::size_t w = 0; w < a.workloads.size(); ++w) {
            CHECK(is_same(a.workloads[w].common, b.workloads[w].common));
            CHECK(is_same(a.workloads[w].alone, b.workloads[w].alone));
            CHECK(is_same(a.workloads[w].left_out, b.workloads[w].left_out));
        }
    }
    CHECK(is_same(left.prediction.ratio, right.prediction.ratio));
    CHECK(is_same(left.prediction.ratio_high, right.prediction.ratio_high));
    CHECK(is_same(left.unseen_workload.ratio, right.unseen_workload.ratio));
    CHECK(is_same(left.choice_ratio, right.choice_ratio));
    CHECK(left.num_searched_layers == right.num_searched_layers);
}

// Greedy fitted to some iterations of a layer, of all workloads' counts summed.
Placement greedy_of(const std::vector<double>& counts, const PlanRequest& request) {
    const std::vector<float> load(counts.begin(), counts.end());
    return eplb::pack_greedy(load, eplb::replicate_greedy(load, request.num_slots), request.ep_size,
                             request.num_slots / request.ep_size);
}

std::vector<double> counts_between(const ExpertStatistics& statistics, int begin, int end) {
    std::vector<double> counts(statistics.num_experts);
    for (int i = begin; i < end; ++i)
        for (int source = 0; source < statistics.num_sources; ++source)
            for (std::size_t expert = 0; expert < counts.size(); ++expert)
                counts[expert] += static_cast<double>(statistics.row(i, 0, source)[expert]);
    return counts;
}

double imbalance_of(const std::vector<double>& counts, const Placement& placement) {
    const std::vector<int> replicas =
        replica_counts(placement.expert_ids, static_cast<int>(counts.size()));
    double fullest = 0;
    for (int rank = 0; rank < placement.ep_size; ++rank) {
        double load = 0;
        for (const int expert : placement.rank(rank))
            load += counts[expert] / replicas[expert];
        fullest = std::max(fullest, load);
    }
    return fullest * placement.ep_size / std::accumulate(counts.begin(), counts.end(), 0.0) - 1;
}

// mean over iterations
double mean_imbalance(const ExpertStatistics& statistics,
                      int begin,
                      int end,
                      const Placement& placement) {
    double sum = 0;
    for (int i = begin; i < end; ++i)
        sum += imbalance_of(counts_between(statistics, i, i + 1), placement);
    return sum / (end - begin);
}

// Mean over iterations, of the loads of ranks that a report shows.
double reported_imbalance(const ExpertStatistics& statistics,
                          int layer,
                          const Placement& placement) {
    const eplb::LayerLoad load =
        rank_load(projected_load(statistics, layer, placement.expert_ids), placement.ep_size);
    double sum = 0;
    for (int i = 0; i < load.num_iterations; ++i) {
        const auto ranks = load.iteration(i);
        sum += *std::max_element(ranks.begin(), ranks.end()) * load.num_bins /
                   std::accumulate(ranks.begin(), ranks.end(), 0.0) -
               1;
    }
    return sum / load.num_iterations;
}

// [layers]: of the workload that fares worst, under the placements fitted to all.
std::vector<double> worst_imbalances(const std::vector<Workload>& workloads,
                                     PlanRequest request,
                                     Robust robust) {
    request.robust = robust;
    ThreadPool threads(2);
    const Plan plan = make_plan(workloads, request, {.predict = false, .progress = {}}, threads);
    std::vector<double> worst;
    for (const LayerPlan& layer_plan : plan.layers) {
        const int layer = static_cast<int>(worst.size());
        worst.push_back(0);
        for (const Workload& workload : workloads)
            worst.back() = std::max(worst.back(), reported_imbalance(*workload.statistics, layer,
                                                                     layer_plan.placement));
    }
    return worst;
}

}  // namespace

TEST_CASE("a plan by search, with its figures, is the same for any number of threads") {
    const ExpertStatistics first = varying_statistics(3, 8, 24, 11);
    const ExpertStatistics second = varying_statistics(3, 6, 24, 12);
    const PlanRequest request = {Algorithm::automatic, 4, 28, 1, 1};
    for (const std::vector<Workload>& workloads :
         {std::vector<Workload>{{&first}}, std::vector<Workload>{{&first, 2}, {&second, 1}}}) {
        check_same(full_plan(workloads, request, 7), full_plan(workloads, request, 1));
    }
}

TEST_CASE("a plan by search keeps the rules of the request") {
    const ExpertStatistics statistics = varying_statistics(3, 8, 24, 13);
    for (const Algorithm algorithm : {Algorithm::samples, Algorithm::aggregated, Algorithm::risk}) {
        PlanRequest request = {algorithm, 8, 64, 2, 4};
        request.min_replicas = 2;
        request.rank_speed = {1, 1, 2, 2, 1, 1, 1, 1};
        for (const LayerPlan& layer : full_plan({{&statistics}}, request, 2).layers) {
            CHECK(num_duplicate_slots(layer.placement) == 0);
            const std::vector<int> counts = replica_counts(layer.placement.expert_ids, 24);
            CHECK(*std::min_element(counts.begin(), counts.end()) >= 2);
            for (int group = 0; group < 4; ++group) {
                std::vector<bool> nodes(2);
                for (std::size_t slot = 0; slot < 64; ++slot)
                    if (layer.placement.expert_ids[slot] / 6 == group)
                        nodes[slot / 32] = true;
                CHECK(nodes[0] != nodes[1]);
            }
            CHECK(layer.bound >= 0);
            CHECK(layer.bound <= layer.aggregated);
        }
    }
}

TEST_CASE("a plan's bases are what the recordings allow") {
    const ExpertStatistics sum = varying_statistics(2, 1, 16, 14);
    const ExpertStatistics other_sum = varying_statistics(2, 1, 16, 15);
    const ExpertStatistics three = varying_statistics(2, 3, 16, 16);
    const ExpertStatistics four = varying_statistics(2, 4, 16, 17);
    const PlanRequest request = {Algorithm::automatic, 4, 20, 1, 1};

    const Plan single = full_plan({{&sum}}, request, 1);
    CHECK(single.basis == PredictionBasis::none);
    CHECK(!single.has_unseen_workload);
    for (const LayerPlan& layer : single.layers) {
        CHECK(layer.algorithm == Algorithm::samples);  // the source ranks are samples too
        CHECK(std::isnan(layer.predicted));
        CHECK(std::isnan(layer.noise_floor));
        CHECK(layer.workloads.empty());
    }
    CHECK(full_plan({{&three}}, request, 1).basis == PredictionBasis::none);

    const Plan sums = full_plan({{&sum}, {&other_sum}}, request, 1);
    CHECK(sums.basis == PredictionBasis::workloads);
    CHECK(sums.has_unseen_workload);
    CHECK(sums.layers[0].workloads.size() == 2);
    CHECK(!std::isnan(sums.prediction.ratio));

    const Plan iterations = full_plan({{&four}}, request, 1);
    CHECK(iterations.basis == PredictionBasis::iterations);
    CHECK(!iterations.has_unseen_workload);
    CHECK(iterations.layers[0].noise_floor > 0);
    CHECK(!std::isnan(iterations.prediction.ratio_low));
    // one that is too short for halves leaves the workloads
    CHECK(full_plan({{&four}, {&three}}, request, 1).basis == PredictionBasis::workloads);
    const Plan both = full_plan({{&four}, {&four}}, request, 1);
    CHECK(both.basis == PredictionBasis::iterations);
    CHECK(both.has_unseen_workload);
}

TEST_CASE("what is predicted is measured on the half that was not fitted to, both ways") {
    const ExpertStatistics statistics = varying_statistics(1, 7, 24, 18);
    const PlanRequest request = {Algorithm::greedy, 4, 28, 1, 1};
    const Plan plan = full_plan({{&statistics}}, request, 1);
    const LayerPlan& layer = plan.layers[0];
    const Placement all = greedy_of(counts_between(statistics, 0, 7), request);
    const Placement first = greedy_of(counts_between(statistics, 0, 3), request);
    const Placement second = greedy_of(counts_between(statistics, 3, 7), request);
    CHECK(layer.placement == all);
    CHECK(layer.fitted == Approx(mean_imbalance(statistics, 0, 7, all)));
    const double predicted =
        (mean_imbalance(statistics, 3, 7, first) + mean_imbalance(statistics, 0, 3, second)) / 2;
    CHECK(layer.predicted == Approx(predicted));
    CHECK(layer.predicted_greedy == Approx(predicted));
    CHECK(layer.predicted != layer.fitted);
    CHECK(plan.prediction.ratio == Approx(1));
    CHECK(layer.aggregated == Approx(imbalance_of(counts_between(statistics, 0, 7), all)));
}

TEST_CASE("a workload is predicted by a plan that is fitted to the others") {
    const ExpertStatistics a = varying_statistics(1, 1, 24, 19);
    const ExpertStatistics b = varying_statistics(1, 1, 24, 20);
    const PlanRequest request = {Algorithm::greedy, 4, 28, 1, 1};
    const Plan plan = full_plan({{&a, 1}, {&b, 3}}, request, 1);
    const LayerPlan& layer = plan.layers[0];
    const std::vector<double> counts_a = counts_between(a, 0, 1);
    const std::vector<double> counts_b = counts_between(b, 0, 1);
    const double of_a = imbalance_of(counts_a, greedy_of(counts_b, request));
    const double of_b = imbalance_of(counts_b, greedy_of(counts_a, request));
    CHECK(layer.predicted == Approx((of_a + 3 * of_b) / 4));
    REQUIRE(layer.workloads.size() == 2);
    CHECK(layer.workloads[0].left_out == Approx(of_a));
    CHECK(layer.workloads[1].left_out == Approx(of_b));
    CHECK(layer.workloads[0].alone == Approx(imbalance_of(counts_a, greedy_of(counts_a, request))));
    CHECK(layer.workloads[1].common == Approx(imbalance_of(counts_b, layer.placement)));
    CHECK(plan.unseen_workload.imbalance == Approx((of_a + 3 * of_b) / 4));
}

TEST_CASE("layers and iterations without tokens are placed, and left out of the figures") {
    ExpertStatistics statistics = varying_statistics(3, 8, 24, 21);
    for (int source = 0; source < 2; ++source) {
        for (int i = 0; i < 8; ++i)
            for (std::int64_t& count : statistics.row(i, 1, source))
                count = 0;
        for (std::int64_t& count : statistics.row(5, 2, source))
            count = 0;
    }
    for (const Algorithm algorithm :
         {Algorithm::automatic, Algorithm::aggregated, Algorithm::risk, Algorithm::greedy}) {
        const Plan plan = full_plan({{&statistics}}, {algorithm, 4, 28, 1, 1}, 2);
        CHECK(!plan.layers[1].has_tokens);
        CHECK(std::isnan(plan.layers[1].predicted));
        CHECK(std::isnan(plan.layers[1].aggregated));
        const std::vector<int> counts = replica_counts(plan.layers[1].placement.expert_ids, 24);
        CHECK(*std::min_element(counts.begin(), counts.end()) == 1);
        CHECK(*std::max_element(counts.begin(), counts.end()) == 2);
        for (const std::size_t layer : {0, 2}) {
            CHECK(plan.layers[layer].has_tokens);
            CHECK(plan.layers[layer].predicted > 0);
            CHECK(plan.layers[layer].fitted > 0);
        }
        CHECK(plan.prediction.ratio > 0);
        CHECK(plan.prediction.ratio_high >= plan.prediction.ratio);
    }
}

TEST_CASE("statistics without layers have an empty plan") {
    const ExpertStatistics statistics = make_statistics(0, 6, 1, 16);
    CHECK(full_plan({{&statistics}}, {Algorithm::automatic, 4, 20, 1, 1}, 2).layers.empty());
    CHECK(full_plan({{&statistics}}, {Algorithm::greedy, 4, 20, 1, 1}, 1).layers.empty());
}

TEST_CASE("time to search on never makes the summed load worse") {
    const ExpertStatistics statistics = varying_statistics(4, 1, 48, 22);
    PlanRequest request = {Algorithm::aggregated, 24, 48, 1, 1};
    const Plan quick = full_plan({{&statistics}}, request, 2);
    request.time_limit = 0.1;
    const Plan slow = full_plan({{&statistics}}, request, 2);
    for (std::size_t layer = 0; layer < 4; ++layer)
        CHECK(slow.layers[layer].aggregated <= quick.layers[layer].aggregated);
}

TEST_CASE("automatic gives each layer what a search or aggregated alone would") {
    const ExpertStatistics statistics = varying_statistics(6, 16, 24, 23);
    const Plan plan = full_plan({{&statistics}}, {Algorithm::automatic, 4, 32, 1, 1}, 2);
    const Algorithm search = plan.search;
    REQUIRE((search == Algorithm::risk || search == Algorithm::samples));
    const Plan searched = full_plan({{&statistics}}, {search, 4, 32, 1, 1}, 2);
    const Plan aggregated = full_plan({{&statistics}}, {Algorithm::aggregated, 4, 32, 1, 1}, 2);
    int num_searched = 0;
    double log_ratio = 0;
    for (std::size_t layer = 0; layer < 6; ++layer) {
        const bool is_searched = plan.layers[layer].algorithm == search;
        num_searched += is_searched ? 1 : 0;
        const LayerPlan& taken = (is_searched ? searched : aggregated).layers[layer];
        CHECK(plan.layers[layer].placement == taken.placement);
        CHECK(plan.layers[layer].predicted == taken.predicted);
        CHECK((is_searched || plan.layers[layer].algorithm == Algorithm::aggregated));
        log_ratio +=
            std::log(searched.layers[layer].predicted / aggregated.layers[layer].predicted);
    }
    CHECK(plan.num_searched_layers == num_searched);
    // a mean of logarithms over folds instead of that of the folds' mean
    CHECK(std::log(plan.choice_ratio) == Approx(log_ratio / 6).margin(0.05));
    CHECK(plan.choice_ratio < 1);  // experts that rise together are there to be kept apart
    CHECK(num_searched >= 4);
}

TEST_CASE("progress counts every layer once") {
    const ExpertStatistics statistics = varying_statistics(5, 1, 16, 24);
    const Workload workload = {&statistics};
    ThreadPool threads(3);
    std::vector<int> seen;
    make_plan({&workload, 1}, {Algorithm::aggregated, 4, 20, 1, 1},
              {.predict = false,
               .progress =
                   [&](int done, int total) {
                       CHECK(total == 5);
                       seen.push_back(done);
                   }},
              threads);
    CHECK(seen == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("the worst workload decides where it is asked to, whatever its weight") {
    // Pairs of experts on two ranks: with 0 goes 1, 2 or 3. The imbalances are
    // 0, 0.2 and 0.4 of the first workload, and 0.4, 0.2 and 0 of the second.
    ExpertStatistics first = make_statistics(1, 1, 1, 4);
    ExpertStatistics second = first;
    first.counts = {400000, 100000, 200000, 300000};
    second.counts = {400000, 300000, 200000, 100000};
    const std::vector<Workload> workloads = {{&first, 9}, {&second, 1}};
    PlanRequest request = {Algorithm::risk, 2, 4, 1, 1};
    request.tolerance = 1;                        // the summed load has no say
    for (const double time_limit : {0.0, 0.2}) {  // a longer search must not fall back to the mean
        request.time_limit = time_limit;
        CHECK(worst_imbalances(workloads, request, Robust::mean)[0] == Approx(0.4));
        CHECK(worst_imbalances(workloads, request, Robust::worst)[0] == Approx(0.2));
    }
}

TEST_CASE("the worst workload fares no worse where it decides, and mostly better", "[quality]") {
    int num_layers = 0;
    int num_better = 0;
    for (const int num_iterations : {1, 8})
        for (const int num_slots : {24, 28, 32}) {
            const auto seed = static_cast<unsigned>(num_iterations + num_slots);
            const ExpertStatistics first = varying_statistics(4, num_iterations, 24, seed);
            const ExpertStatistics second = varying_statistics(4, num_iterations, 24, 100 + seed);
            const std::vector<Workload> workloads = {{&first, 9}, {&second, 1}};
            const PlanRequest request = {Algorithm::risk, 4, num_slots, 1, 1};
            const std::vector<double> mean = worst_imbalances(workloads, request, Robust::mean);
            const std::vector<double> worst = worst_imbalances(workloads, request, Robust::worst);
            for (std::size_t layer = 0; layer < mean.size(); ++layer) {
                CAPTURE(num_iterations, num_slots, layer);
                CHECK(worst[layer] <= mean[layer] * (1 + 1e-9));
                ++num_layers;
                num_better += worst[layer] < 0.9 * mean[layer] ? 1 : 0;
            }
        }
    CHECK(num_better > num_layers / 2);
}

}  // namespace eplb::test_planner_search
