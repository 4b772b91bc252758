#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "lib/engines/engine.h"
#include "lib/placement/plan/alignment.h"
#include "lib/placement/plan/update.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

namespace eplb::test_update {

using eplb::Algorithm;
using eplb::ExpertStatistics;
using eplb::LayerPlan;
using eplb::LayerUpdate;
using eplb::make_plan;
using eplb::num_moves;
using eplb::Placement;
using eplb::Plan;
using eplb::PlanRequest;
using eplb::Robust;
using eplb::ThreadPool;
using eplb::update_plan;
using eplb::Workload;
using eplb::test::error_of;
using eplb::test::make_statistics;
using eplb::test::Random;

namespace {

constexpr int kEpSize = 4;
constexpr int kNumSlots = 24;
constexpr int kNumExperts = 20;

// Levels per expert, around which iterations vary; `period` iterations are repeated.
ExpertStatistics varying_statistics(int num_layers, int num_iterations, int period, unsigned seed) {
    ExpertStatistics statistics = make_statistics(num_layers, num_iterations, 2, kNumExperts);
    Random random(seed);
    for (int layer = 0; layer < num_layers; ++layer) {
        std::vector<double> level;
        for (int expert = 0; expert < kNumExperts; ++expert)
            level.push_back(std::min(100 / random.uniform(), 2000.0));
        for (int i = 0; i < num_iterations; ++i)
            for (int source = 0; source < 2; ++source)
                for (std::size_t expert = 0; expert < kNumExperts; ++expert)
                    statistics.row(i, layer, source)[expert] =
                        i < period ? static_cast<std::int64_t>(level[expert] *
                                                               (0.7 + 0.6 * random.uniform()))
                                   : statistics.row(i - period, layer, source)[expert];
    }
    return statistics;
}

PlanRequest request_of(Algorithm algorithm) {
    PlanRequest request;
    request.algorithm = algorithm;
    request.ep_size = kEpSize;
    request.num_slots = kNumSlots;
    return request;
}

std::vector<Placement> engine_default(int num_layers) {
    return std::vector<Placement>(num_layers, eplb::default_engine().default_placement(
                                                  kNumExperts, kEpSize, kNumSlots / kEpSize));
}

struct Updated {
    Plan plan;
    std::vector<LayerUpdate> layers;

    int num_moves() const {
        int moves = 0;
        for (const LayerUpdate& layer : layers)
            moves += layer.num_moves();
        return moves;
    }
};

Updated update(const std::vector<Workload>& workloads,
               const PlanRequest& request,
               std::optional<int> max_moves,
               Plan plan,
               int num_threads = 1) {
    ThreadPool threads(num_threads);
    Updated updated = {std::move(plan), {}};
    const int num_layers = static_cast<int>(updated.plan.layers.size());
    updated.layers =
        update_plan(workloads, request, {"now.yaml", engine_default(num_layers), max_moves},
                    threads, updated.plan);
    return updated;
}

Plan planned(const std::vector<Workload>& workloads, const PlanRequest& request) {
    ThreadPool threads(1);
    return make_plan(workloads, request, {}, threads);
}

Updated update(const std::vector<Workload>& workloads,
               const PlanRequest& request,
               std::optional<int> max_moves) {
    return update(workloads, request, max_moves, planned(workloads, request));
}

// From the definition: mean over iterations of the fullest rank against the mean, less 1. With
// `summed`, of the counts of all iterations.
double imbalance_of(const ExpertStatistics& statistics,
                    int layer,
                    const Placement& placement,
                    bool summed) {
    std::vector<int> replicas(kNumExperts);
    for (const int expert : placement.expert_ids)
        ++replicas[expert];
    std::vector<double> loads(kEpSize);
    double sum = 0;
    const auto ratio = [&] {
        double total = 0;
        for (const double load : loads)
            total += load;
        return *std::max_element(loads.begin(), loads.end()) / (total / kEpSize) - 1;
    };
    for (int i = 0; i < statistics.num_iterations; ++i) {
        for (std::size_t slot = 0; slot < kNumSlots; ++slot)
            for (int source = 0; source < statistics.num_sources; ++source) {
                const auto expert = static_cast<std::size_t>(placement.expert_ids[slot]);
                loads[slot / (kNumSlots / kEpSize)] +=
                    static_cast<double>(statistics.row(i, layer, source)[expert]) /
                    replicas[expert];
            }
        if (summed)
            continue;
        sum += ratio();
        std::fill(loads.begin(), loads.end(), 0.0);
    }
    return summed ? ratio() : sum / statistics.num_iterations;
}

}  // namespace

TEST_CASE("an update without a bound is the plan, with fewer slots that move") {
    const ExpertStatistics statistics = varying_statistics(3, 12, 12, 1);
    const std::vector<Workload> workloads = {{&statistics, 1, nullptr}};
    const PlanRequest request = request_of(Algorithm::automatic);
    const Plan plan = planned(workloads, request);
    const Updated updated = update(workloads, request, std::nullopt, plan);
    const std::vector<Placement> current = engine_default(3);
    for (std::size_t layer = 0; layer < 3; ++layer) {
        const LayerPlan& after = updated.plan.layers[layer];
        CHECK(after.fitted == plan.layers[layer].fitted);
        CHECK(after.predicted == plan.layers[layer].predicted);
        CHECK(after.fitted ==
              Approx(imbalance_of(statistics, static_cast<int>(layer), after.placement, false)));
        CHECK(updated.layers[layer].num_moves() == num_moves(after.placement, current[layer]));
        CHECK(updated.layers[layer].num_moves() <
              num_moves(plan.layers[layer].placement, current[layer]));
    }
    CHECK(updated.plan.prediction.ratio_high == plan.prediction.ratio_high);
}

TEST_CASE("a bound on moves is kept, and more moves are never worse") {
    const ExpertStatistics statistics = varying_statistics(3, 12, 12, 2);
    const std::vector<Workload> workloads = {{&statistics, 1, nullptr}};
    const std::vector<Placement> current = engine_default(3);
    for (const Algorithm algorithm :
         {Algorithm::automatic, Algorithm::risk, Algorithm::aggregated, Algorithm::greedy}) {
        const PlanRequest request = request_of(algorithm);
        const Plan plan = planned(workloads, request);
        double before = 1e9;
        for (const int max_moves : {0, 1, 2, 3, 5, 8, 20, 1000}) {
            const Updated updated = update(workloads, request, max_moves, plan);
            CAPTURE(static_cast<int>(algorithm), max_moves);
            CHECK(updated.num_moves() <= max_moves);
            double sum = 0;
            for (std::size_t i = 0; i < 3; ++i) {
                const LayerPlan& layer = updated.plan.layers[i];
                const int id = static_cast<int>(i);
                CHECK(layer.fitted == Approx(imbalance_of(statistics, id, layer.placement, false)));
                CHECK(layer.aggregated ==
                      Approx(imbalance_of(statistics, id, layer.placement, true)));
                CHECK(updated.layers[i].current_imbalance ==
                      Approx(imbalance_of(statistics, id, current[i], false)));
                CHECK(updated.layers[i].num_moves() == num_moves(layer.placement, current[i]));
                CHECK(layer.fitted <= updated.layers[i].current_imbalance);
                if (max_moves == 0) {
                    CHECK(layer.placement == current[i]);
                    CHECK(layer.predicted == layer.fitted);
                }
                sum += layer.fitted;
            }
            CHECK(sum <= before + 1e-12);
            before = sum;
        }
        CHECK(before <= 3 * mean_over_layers(plan, &LayerPlan::fitted) + 1e-12);
    }
}

TEST_CASE("what is predicted of few moves was not fitted to") {
    // both halves the same: what is chosen by one is on the other what it is on itself
    const ExpertStatistics alike = varying_statistics(2, 12, 6, 3);
    const PlanRequest request = request_of(Algorithm::aggregated);
    const Updated same = update({{&alike, 1, nullptr}}, request, 6);
    REQUIRE(same.num_moves() > 0);
    for (const LayerPlan& layer : same.plan.layers)
        CHECK(layer.predicted == Approx(layer.fitted).epsilon(0.1));  // ways there may differ
    CHECK(std::isnan(same.plan.prediction.ratio_high));
    CHECK(same.plan.prediction.imbalance ==
          Approx(mean_over_layers(same.plan, &LayerPlan::predicted)));

    // halves of other experts: what few moves gain on one half does not help the other
    ExpertStatistics turned = varying_statistics(2, 12, 6, 4);
    for (int i = 6; i < 12; ++i)
        for (int layer = 0; layer < 2; ++layer)
            for (int source = 0; source < 2; ++source) {
                const auto row = turned.row(i, layer, source);
                std::rotate(row.begin(), row.begin() + 7, row.end());
            }
    const Updated other = update({{&turned, 1, nullptr}}, request, 6);
    REQUIRE(other.num_moves() > 0);
    CHECK(mean_over_layers(other.plan, &LayerPlan::predicted) >
          1.1 * mean_over_layers(other.plan, &LayerPlan::fitted));
}

TEST_CASE("updates are the same for any number of threads") {
    const ExpertStatistics statistics = varying_statistics(5, 8, 8, 5);
    const std::vector<Workload> workloads = {{&statistics, 1, nullptr}};
    const PlanRequest request = request_of(Algorithm::automatic);
    const Plan plan = planned(workloads, request);
    const Updated one = update(workloads, request, 9, plan, 1);
    const Updated three = update(workloads, request, 9, plan, 3);
    for (std::size_t layer = 0; layer < 5; ++layer) {
        CHECK(one.plan.layers[layer].placement == three.plan.layers[layer].placement);
        CHECK(one.plan.layers[layer].predicted == three.plan.layers[layer].predicted);
        CHECK(one.layers[layer].rank_moves == three.layers[layer].rank_moves);
    }
}

TEST_CASE("a layer without tokens keeps what is in force") {
    ExpertStatistics statistics = varying_statistics(2, 6, 6, 6);
    for (int i = 0; i < 6; ++i)
        for (int source = 0; source < 2; ++source) {
            const auto row = statistics.row(i, 0, source);
            std::fill(row.begin(), row.end(), 0);
        }
    const Updated updated =
        update({{&statistics, 1, nullptr}}, request_of(Algorithm::automatic), 4);
    CHECK(updated.plan.layers[0].placement == engine_default(1).front());
    CHECK(std::isnan(updated.layers[0].current_imbalance));
    CHECK(updated.layers[1].num_moves() > 0);
}

TEST_CASE("of several workloads, the bound knows what is asked for") {
    const ExpertStatistics first = varying_statistics(2, 6, 6, 7);
    const ExpertStatistics second = varying_statistics(2, 6, 6, 8);
    const std::vector<Workload> workloads = {{&first, 3, nullptr}, {&second, 1, nullptr}};
    PlanRequest request = request_of(Algorithm::risk);
    for (const Robust robust : {Robust::mean, Robust::worst}) {
        request.robust = robust;
        const Updated updated = update(workloads, request, 6);
        CHECK(updated.num_moves() <= 6);
        CHECK_FALSE(updated.plan.has_unseen_workload);
        for (int id = 0; id < 2; ++id) {
            const LayerPlan& layer = updated.plan.layers[id];
            const double of_first = imbalance_of(first, id, layer.placement, false);
            const double of_second = imbalance_of(second, id, layer.placement, false);
            CHECK(layer.fitted == Approx((3 * of_first + of_second) / 4));
            CHECK(layer.workloads.empty());
            const Placement before = engine_default(1).front();
            if (robust == Robust::worst)
                CHECK(std::max(of_first, of_second) <=
                      std::max(imbalance_of(first, id, before, false),
                               imbalance_of(second, id, before, false)) +
                          1e-12);
        }
    }
}

TEST_CASE("an update from what is not allowed has no bound") {
    const ExpertStatistics statistics = varying_statistics(1, 4, 4, 9);
    const std::vector<Workload> workloads = {{&statistics, 1, nullptr}};
    PlanRequest request = request_of(Algorithm::risk);
    request.num_nodes = 2;
    CHECK_STARTS_WITH(error_of([&] { update(workloads, request, 3); }),
                      "now.yaml: layer 3: has expert ");
    const Updated updated = update(workloads, request, std::nullopt);
    for (std::size_t slot = 0; slot < kNumSlots; ++slot)
        for (std::size_t other = 0; other < kNumSlots; ++other)
            if (slot / 12 != other / 12)
                CHECK(updated.plan.layers[0].placement.expert_ids[slot] !=
                      updated.plan.layers[0].placement.expert_ids[other]);
}

TEST_CASE("few moves keep the groups on their nodes that deepseek put there") {
    const ExpertStatistics before = varying_statistics(3, 4, 4, 10);
    const ExpertStatistics now = varying_statistics(3, 4, 4, 11);
    PlanRequest request = request_of(Algorithm::deepseek);
    request.num_nodes = request.num_groups = 2;
    std::vector<Placement> current;
    for (const LayerPlan& layer : planned({{&before, 1, nullptr}}, request).layers)
        current.push_back(layer.placement);
    const std::vector<Workload> workloads = {{&now, 1, nullptr}};
    Plan plan = planned(workloads, request);
    ThreadPool threads(1);
    const auto updates = update_plan(workloads, request, {"now.yaml", current, 9}, threads, plan);
    int moves = 0;
    for (const LayerUpdate& layer : updates)
        moves += layer.num_moves();
    CHECK(moves > 0);
    CHECK(moves <= 9);
    for (const LayerPlan& layer : plan.layers)
        for (std::size_t node = 0; node < 2; ++node) {
            const auto first = layer.placement.expert_ids.begin() + static_cast<long>(node) * 12;
            const int group = *first / (kNumExperts / 2);
            CHECK(std::all_of(first, first + 12,
                              [&](int id) { return id / (kNumExperts / 2) == group; }));
        }
}

}  // namespace eplb::test_update
