#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_samples.h"
#include "lib/placement/plan/planner.h"
#include "lib/placement/search/placer.h"
#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

// Many experts or ranks, few slots, loads of a kind that no recording has.
namespace eplb::test_shapes {

using eplb::Algorithm;
using eplb::ExpertStatistics;
using eplb::make_plan;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::Plan;
using eplb::PlanRequest;
using eplb::ThreadPool;
using eplb::Workload;
using eplb::test::counts_of;
using eplb::test::deployment_of;
using eplb::test::fullest_of;
using eplb::test::is_distinct;
using eplb::test::make_problem;
using eplb::test::make_statistics;
using eplb::test::Random;

namespace {

constexpr double kRounding = 1e-9;

struct Shape {
    int num_experts;
    int ep_size;
    int num_slots;

    int slots_per_rank() const { return num_slots / ep_size; }
};

std::vector<double> zipf_loads(Random& random, int num_experts) {
    std::vector<double> loads;
    loads.reserve(num_experts);
    for (int expert = 0; expert < num_experts; ++expert)
        loads.push_back(std::pow(expert + 1.0, -0.6));
    random.shuffle(loads);
    return loads;
}

std::vector<double> lognormal_loads(Random& random, int num_experts) {
    std::vector<double> loads;
    loads.reserve(num_experts);
    for (int expert = 0; expert < num_experts; ++expert)
        loads.push_back(std::exp(random.normal()));
    return loads;
}

// One expert carries 90 %.
std::vector<double> skewed_to_one(int num_experts) {
    std::vector<double> loads(num_experts, 1.0);
    loads[num_experts / 2] = 9.0 * (num_experts - 1);
    return loads;
}

void check_valid(const Placement& placement, const Shape& shape) {
    REQUIRE(placement.ep_size == shape.ep_size);
    REQUIRE(static_cast<int>(placement.expert_ids.size()) == shape.num_slots);
    const std::vector<int> counts = counts_of(placement, shape.num_experts);
    REQUIRE(*std::min_element(counts.begin(), counts.end()) >= 1);
    if (shape.slots_per_rank() < shape.num_experts)
        REQUIRE(is_distinct(placement));
}

Placement greedy_of(const std::vector<double>& counts, const Shape& shape) {
    const std::vector<float> load(counts.begin(), counts.end());
    return eplb::pack_greedy(load, eplb::replicate_greedy(load, shape.num_slots), shape.ep_size,
                             shape.slots_per_rank());
}

// The fullest rank of the summed load, in mean rank loads; held against greedy and the bound.
double placed(const Shape& shape, const std::vector<double>& load) {
    const PlacementProblem problem = make_problem(shape.ep_size, shape.slots_per_rank(), load);
    const eplb::Deployment deployment = deployment_of(problem);
    eplb::PlacerOptions options;
    options.objective = eplb::Objective::aggregated;
    const Placement placement = place(problem, deployment, options).placement;
    CAPTURE(shape.num_experts, shape.ep_size, shape.num_slots);
    check_valid(placement, shape);
    const double fullest = fullest_of(problem, placement);
    CHECK(fullest <= fullest_of(problem, greedy_of(load, shape)) * (1 + kRounding));
    CHECK(fullest >=
          problem.mean_load() * (1 + imbalance_bound(problem, deployment)) * (1 - kRounding));
    return fullest / problem.mean_load();
}

PlanRequest request_of(Algorithm algorithm, const Shape& shape) {
    PlanRequest request;
    request.algorithm = algorithm;
    request.ep_size = shape.ep_size;
    request.num_slots = shape.num_slots;
    return request;
}

Plan planned(const ExpertStatistics& statistics, Algorithm algorithm, const Shape& shape) {
    ThreadPool threads(1);
    const Workload workload = {&statistics, 1, nullptr};
    return make_plan({&workload, 1}, request_of(algorithm, shape),
                     {.predict = false, .progress = {}}, threads);
}

// Iterations of four source ranks. A third of the experts rises in every other iteration, another
// third in the others; all vary by a fifth besides.
ExpertStatistics swaying_iterations(Random& random,
                                    int num_layers,
                                    int num_iterations,
                                    int num_experts) {
    ExpertStatistics statistics = make_statistics(num_layers, num_iterations, 4, num_experts);
    for (int layer = 0; layer < num_layers; ++layer) {
        const std::vector<double> level = lognormal_loads(random, num_experts);
        for (int i = 0; i < num_iterations; ++i)
            for (int source = 0; source < 4; ++source)
                for (std::size_t expert = 0; expert < level.size(); ++expert) {
                    const double rise = static_cast<int>(expert % 3) == i % 2 ? 2 : 1;
                    statistics.row(i, layer, source)[expert] = static_cast<std::int64_t>(
                        100 * level[expert] * rise * (0.8 + 0.4 * random.uniform()));
                }
    }
    return statistics;
}

// Mean over layers of the mean imbalance over iterations [begin, end).
double mean_imbalance(const Plan& plan, const ExpertStatistics& statistics, int begin, int end) {
    double sum = 0;
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const eplb::LayerSamples samples(statistics, layer);
        sum += eplb::mean_of(eplb::iteration_imbalance(
            {&samples, begin, end, 1}, plan.layers[static_cast<std::size_t>(layer)].placement, {}));
    }
    return sum / statistics.num_layers();
}

ExpertStatistics first_iterations(const ExpertStatistics& statistics, int num_iterations) {
    ExpertStatistics first = statistics;
    first.num_iterations = num_iterations;
    first.counts.resize(statistics.counts.size() /
                        static_cast<std::size_t>(statistics.num_iterations) *
                        static_cast<std::size_t>(num_iterations));
    return first;
}

}  // namespace

TEST_CASE("many experts on many ranks: valid, at or below greedy, never below the bound") {
    Random random(1);
    for (const Shape& shape : {Shape{256, 72, 288},
                               {256, 288, 288},
                               {256, 64, 256},
                               {256, 128, 256},
                               {256, 256, 256},
                               {384, 72, 432},
                               {512, 72, 576},
                               {512, 144, 576},
                               {896, 72, 1008},
                               {896, 144, 1008},
                               {896, 288, 1152}})
        placed(shape, zipf_loads(random, shape.num_experts));
    for (const Shape& shape : {Shape{256, 144, 288}, {512, 288, 576}, {896, 288, 1152}})
        placed(shape, lognormal_loads(random, shape.num_experts));
}

TEST_CASE("a few hot experts that carry everything are spread evenly", "[quality]") {
    for (const int num_hot : {1, 3, 4, 8})
        for (const Shape& shape : {Shape{256, 32, 288}, {64, 32, 96}, {128, 64, 192}}) {
            std::vector<double> load(shape.num_experts, 0.0);
            for (int i = 0; i < num_hot; ++i)
                load[i * 7] = 100;
            // as many ranks of its own for each
            const int own = shape.ep_size / num_hot;
            CAPTURE(num_hot, shape.ep_size);
            CHECK(placed(shape, load) <=
                  static_cast<double>(shape.ep_size) / (num_hot * own) * (1 + kRounding));
        }
}

TEST_CASE("an expert that carries nearly everything is spread as wide as can be") {
    for (const Shape& shape : {Shape{256, 36, 288}, {256, 144, 288}, {256, 288, 576}})
        placed(shape, skewed_to_one(shape.num_experts));
}

TEST_CASE("equal loads are placed at the optimum where counting tells it") {
    const auto fullest = [](const Shape& shape) {
        return placed(shape, std::vector<double>(shape.num_experts, 1.0)) * shape.num_experts /
               shape.ep_size;
    };
    // 32 spare slots leave 224 experts whole, and two of them share one of 144 ranks
    CHECK(fullest({256, 144, 288}) == Approx(2).epsilon(kRounding));
    // without a whole one, 192 experts or more have two replicas, and two halves share one of 288
    CHECK(fullest({256, 288, 576}) == Approx(1).epsilon(kRounding));
    CHECK(fullest({512, 64, 512}) == Approx(8).epsilon(kRounding));
    CHECK(fullest({896, 112, 896}) == Approx(8).epsilon(kRounding));
    fullest({256, 36, 288});
}

TEST_CASE("a rank that holds every expert may hold some twice") {
    for (const Shape& shape : {Shape{8, 72, 72 * 8}, {8, 72, 72 * 9}, {3, 288, 288 * 4}})
        CHECK(placed(shape, std::vector<double>(shape.num_experts, 1.0)) >= 1);
}

TEST_CASE("a layer of many is placed as it would be alone") {
    const Shape shape = {256, 36, 288};
    constexpr int kDifferent = 30;
    constexpr int kLayers = 4 * kDifferent;
    ExpertStatistics statistics = make_statistics(kLayers, 1, 1, shape.num_experts);
    Random random(2);
    for (int layer = 0; layer < kDifferent; ++layer) {
        const std::vector<double> load = lognormal_loads(random, shape.num_experts);
        for (int copy = layer; copy < kLayers; copy += kDifferent)
            std::transform(load.begin(), load.end(), statistics.row(0, copy, 0).begin(),
                           [](double value) { return static_cast<std::int64_t>(1000 * value); });
    }
    const Plan searched = planned(statistics, Algorithm::automatic, shape);
    const Plan greedy = planned(statistics, Algorithm::greedy, shape);
    REQUIRE(searched.layers.size() == kLayers);
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
        const eplb::LayerPlan& plan = searched.layers[layer];
        check_valid(plan.placement, shape);
        CHECK(plan.placement == searched.layers[layer % kDifferent].placement);
        CHECK(plan.aggregated >= plan.bound - kRounding);
        CHECK(plan.aggregated <= greedy.layers[layer].aggregated + kRounding);
    }
}

TEST_CASE("iterations of any shape: valid, and not above greedy on later ones", "[quality]") {
    constexpr int kFitted = 16;
    constexpr int kIterations = 48;
    constexpr int kLayers = 1;
    Random random(3);
    for (const Shape& shape : {Shape{24, 24, 24}, {24, 24, 48}, {24, 36, 72}, {36, 12, 48}}) {
        const ExpertStatistics all =
            swaying_iterations(random, kLayers, kIterations, shape.num_experts);
        const ExpertStatistics first = first_iterations(all, kFitted);
        const Plan searched = planned(first, Algorithm::automatic, shape);
        const Plan greedy = planned(first, Algorithm::greedy, shape);
        for (const eplb::LayerPlan& layer : searched.layers)
            check_valid(layer.placement, shape);
        CAPTURE(shape.num_experts, shape.ep_size, shape.num_slots);
        CHECK(mean_imbalance(searched, all, kFitted, kIterations) <=
              mean_imbalance(greedy, all, kFitted, kIterations) * 1.01);
    }
}

}  // namespace eplb::test_shapes
