#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "lib/placement/plan/layer_samples.h"
#include "lib/placement/search/placer.h"
#include "lib/placement/search/risk_search.h"
#include "lib/placement/upstream/hierarchical.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_placer {

using eplb::Deployment;
using eplb::imbalance_bound;
using eplb::improve;
using eplb::Objective;
using eplb::place;
using eplb::place_deepseek;
using eplb::Placed;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::PlacerOptions;
using eplb::test::add_covariance;
using eplb::test::add_workloads;
using eplb::test::counts_of;
using eplb::test::deployment_of;
using eplb::test::fullest_of;
using eplb::test::is_distinct;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::random_speeds;
using eplb::test::skewed_loads;
using eplb::test::sum_of;

namespace {

struct Case {
    PlacementProblem problem;
    Deployment deployment;
};

// Every shape that check_plan_request() lets through.
Case random_case(Random& random) {
    while (true) {
        const int num_experts = random.between(1, 40);
        const int ep_size = random.between(1, 12);
        const int num_nodes = random.between(0, 1) == 0 ? 1 : random.between(2, 3);
        const int min_replicas = random.between(0, 3) == 0 ? 2 : 1;
        const int least = (num_experts * min_replicas + ep_size - 1) / ep_size;
        const int slots_per_rank = random.between(0, 4) == 0 ? num_experts + random.between(0, 2)
                                                             : least + random.between(0, 3);
        if (ep_size % num_nodes != 0 || num_experts % num_nodes != 0 ||
            min_replicas > ep_size / num_nodes)
            continue;
        std::vector<int> groups = {1};
        for (int num_groups = num_nodes; num_groups <= num_experts; num_groups += num_nodes)
            if (num_experts % num_groups == 0)
                groups.push_back(num_groups);
        const int num_groups = groups[random.between(0, static_cast<int>(groups.size()) - 1)];
        Case result;
        result.problem = make_problem(ep_size, std::max(least, slots_per_rank),
                                      std::vector<double>(num_experts));
        result.problem.min_replicas = min_replicas;
        add_workloads(random, random.between(1, 2), result.problem);
        if (random.between(0, 1) == 0)
            add_covariance(random, 2, 0.3, result.problem);
        if (random.between(0, 2) == 0)
            result.problem.rank_speed = random_speeds(random, ep_size);
        result.deployment = deployment_of(result.problem, num_nodes, num_groups);
        return result;
    }
}

void check_placement(const PlacementProblem& problem,
                     const Deployment& deployment,
                     const Placement& placement) {
    CAPTURE(problem.num_experts, problem.ep_size, problem.slots_per_rank, problem.min_replicas,
            deployment.num_nodes, deployment.num_groups, problem.load, placement.expert_ids);
    REQUIRE(placement.ep_size == problem.ep_size);
    REQUIRE(placement.slots_per_rank == problem.slots_per_rank);
    REQUIRE(static_cast<int>(placement.expert_ids.size()) == problem.num_slots());
    std::vector<std::set<int>> ranks(problem.load.size());
    std::vector<std::set<int>> nodes(problem.load.size());
    std::vector<std::set<int>> nodes_of_group(problem.load.size());
    const int ranks_per_node = problem.ep_size / deployment.num_nodes;
    const int group_size = problem.num_experts / deployment.num_groups;
    for (int slot = 0; slot < problem.num_slots(); ++slot) {
        const int rank = slot / problem.slots_per_rank;
        const int expert = placement.expert_ids[slot];
        ranks.at(static_cast<std::size_t>(expert)).insert(rank);
        nodes[expert].insert(rank / ranks_per_node);
        nodes_of_group[expert / group_size].insert(rank / ranks_per_node);
    }
    for (const std::set<int>& of_expert : ranks)
        REQUIRE(static_cast<int>(of_expert.size()) >= problem.min_replicas);
    // more slots than a node has experts cannot all be different
    if (problem.slots_per_rank <= problem.num_experts / deployment.num_nodes)
        REQUIRE(is_distinct(placement));
    if (deployment.num_nodes == 1)
        return;
    for (const std::set<int>& of_expert : nodes)
        REQUIRE(of_expert.size() == 1);
    if (deployment.num_groups > 1)
        for (int group = 0; group < deployment.num_groups; ++group)
            REQUIRE(nodes_of_group[group].size() == 1);
}

PlacerOptions options_for(Objective objective) {
    PlacerOptions options;
    options.objective = objective;
    return options;
}

constexpr Objective kObjectives[] = {Objective::aggregated, Objective::risk};

// [num_nodes]: load of the experts on each
std::vector<double> node_loads(const PlacementProblem& problem,
                               const Placement& placement,
                               int num_nodes) {
    const std::vector<int> counts = counts_of(placement, problem.num_experts);
    std::vector<double> loads(num_nodes);
    for (std::size_t slot = 0; slot < placement.expert_ids.size(); ++slot) {
        const auto expert = static_cast<std::size_t>(placement.expert_ids[slot]);
        loads[slot * static_cast<std::size_t>(num_nodes) / placement.expert_ids.size()] +=
            problem.load[expert] / counts[expert];
    }
    return loads;
}

double largest(const std::vector<double>& values) {
    return *std::max_element(values.begin(), values.end());
}

}  // namespace

TEST_CASE("placements of any shape keep the rules that the deployment sets") {
    Random random(1);
    for (int i = 0; i < test::num_random_cases(100); ++i) {
        const Case one = random_case(random);
        const Placed placed =
            place(one.problem, one.deployment, options_for(Objective::aggregated));
        check_placement(one.problem, one.deployment, placed.placement);
        CHECK(placed.beta == 0);
    }
    for (int i = 0; i < test::num_random_cases(80); ++i) {
        const Case one = random_case(random);
        check_placement(one.problem, one.deployment,
                        place(one.problem, one.deployment, options_for(Objective::risk)).placement);
    }
}

TEST_CASE("extreme loads are placed by the rules, too") {
    Random random(2);
    for (int i = 0; i < test::num_random_cases(120); ++i) {
        Case one = random_case(random);
        PlacementProblem& problem = one.problem;
        const int kind = i % 3;
        problem.scenario_weight = {1};
        problem.covariance = nullptr;
        if (kind == 0) {  // no tokens
            problem.load.assign(problem.load.size(), 0);
            problem.scenario_weight.clear();
        } else if (kind == 1) {  // one expert carries everything
            problem.load.assign(problem.load.size(), 0);
            problem.load[random.between(0, problem.num_experts - 1)] = problem.ep_size;
        } else {
            problem.load.assign(problem.load.size(),
                                static_cast<double>(problem.ep_size) / problem.num_experts);
        }
        problem.scenario_load.clear();
        if (kind > 0) {
            problem.scenario_load = problem.load;
            add_covariance(random, 1, 0.1, problem);
        }
        const Objective objective = kObjectives[i / 3 % 2];
        Placed placed = place(problem, one.deployment, options_for(objective));
        check_placement(problem, one.deployment, placed.placement);
        improve(problem, one.deployment, options_for(objective), 1, placed);
        check_placement(problem, one.deployment, placed.placement);
    }
}

TEST_CASE("an expert that carries everything gets every rank that the others leave") {
    for (const Objective objective : kObjectives) {
        PlacementProblem problem = make_problem(4, 3, {0, 0, 4, 0, 0, 0, 0, 0, 0});
        problem.scenario_load = problem.load;
        problem.scenario_weight = {1};
        problem.covariance = std::make_shared<eplb::ExpertMatrix>(9);
        const Placement placement =
            place(problem, deployment_of(problem), options_for(objective)).placement;
        CHECK(counts_of(placement, 9)[2] == 4);
        CHECK(fullest_of(problem, placement) == 1);
    }
}

TEST_CASE("equal loads that divide evenly are dealt evenly") {
    for (const Objective objective : kObjectives) {
        PlacementProblem problem = make_problem(6, 4, std::vector<double>(24, 0.25));
        problem.scenario_load = problem.load;
        problem.scenario_weight = {1};
        Random random(3);
        add_covariance(random, 2, 0.2, problem);
        const Placement placement =
            place(problem, deployment_of(problem), options_for(objective)).placement;
        CHECK(counts_of(placement, 24) == std::vector<int>(24, 1));
        CHECK(fullest_of(problem, placement) == Approx(1).epsilon(1e-12));
    }
}

TEST_CASE("a layer without tokens gets evenly dealt replicas on every node") {
    const PlacementProblem problem = make_problem(4, 3, std::vector<double>(8, 0.0));
    for (const int num_nodes : {1, 2}) {
        const Placement placement =
            place(problem, deployment_of(problem, num_nodes), options_for(Objective::risk))
                .placement;
        std::vector<int> counts = counts_of(placement, 8);
        std::sort(counts.begin(), counts.end());
        CHECK(counts == std::vector<int>{1, 1, 1, 1, 2, 2, 2, 2});
    }
}

TEST_CASE("a rank that holds every expert of its node holds no expert of another") {
    // 4 slots would hold all 4 experts, of which each node has 2
    PlacementProblem problem = make_problem(4, 4, {1, 1, 1, 1});
    const Placement placement =
        place(problem, deployment_of(problem, 2), options_for(Objective::aggregated)).placement;
    check_placement(problem, deployment_of(problem, 2), placement);
    CHECK(fullest_of(problem, placement) == 1);
}

TEST_CASE("doubling all loads leaves the aggregated placement as it is", "[quality]") {
    Random random(4);
    for (int i = 0; i < 30; ++i) {
        Case one = random_case(random);
        const Placement before =
            place(one.problem, one.deployment, options_for(Objective::aggregated)).placement;
        for (double& load : one.problem.load)
            load *= 4096;
        CHECK(place(one.problem, one.deployment, options_for(Objective::aggregated)).placement ==
              before);
    }
}

TEST_CASE("counts that are larger by a power of two have the same placement") {
    Random random(5);
    for (int i = 0; i < 8; ++i) {
        eplb::ExpertStatistics statistics;
        statistics.num_experts = 24;
        statistics.top_k = 4;
        statistics.ep_size = statistics.num_sources = i % 2 == 0 ? 1 : 3;
        statistics.layers = {0};
        statistics.num_iterations = 20;
        statistics.allocate();
        for (std::int64_t& count : statistics.counts)
            count = random.between(0, 1000);
        Deployment deployment;
        deployment.ep_size = 4;
        deployment.num_slots = 28;
        const auto place_counts = [&] {
            const eplb::LayerSamples samples(statistics, 0);
            const eplb::SampleRange range = {&samples, 0, 20, 1};
            return place(eplb::make_problem({&range, 1}, deployment, Objective::risk), deployment,
                         options_for(Objective::risk))
                .placement;
        };
        const Placement before = place_counts();
        for (std::int64_t& count : statistics.counts)
            count *= 1 << 20;
        CHECK(place_counts() == before);
    }
}

TEST_CASE("the names of the experts matter little", "[quality]") {
    Random random(6);
    double sum = 0;
    constexpr int kNumCases = 12;
    for (int i = 0; i < kNumCases; ++i) {
        PlacementProblem problem = make_problem(8, 6, skewed_loads(random, 40, 0.6));
        const double mean = problem.mean_load();
        const auto fullest = [&] {
            return fullest_of(problem, place(problem, deployment_of(problem),
                                             options_for(Objective::aggregated))
                                           .placement) /
                   mean;
        };
        const double before = fullest();
        random.shuffle(problem.load);
        const double difference = std::abs(fullest() - before);
        CHECK(difference <= 0.02);
        sum += difference;
    }
    CHECK(sum / kNumCases <= 0.004);
}

TEST_CASE("risk leaves the summed load within the tolerance of its bound where that is in reach") {
    Random random(7);
    for (const double tolerance : {0.0, 0.005, 0.02, 0.1}) {
        PlacementProblem problem = make_problem(6, 12, std::vector<double>(60));
        add_workloads(random, 1, problem);
        add_covariance(random, 4, 0.4, problem);
        PlacerOptions options = options_for(Objective::risk);
        options.tolerance = tolerance;
        const Placed placed = place(problem, deployment_of(problem), options);
        CHECK(placed.beta > 0);
        const double bound = 1 + imbalance_bound(problem, deployment_of(problem));
        CHECK(fullest_of(problem, placed.placement) <= bound + std::max(tolerance, 0.002));
    }
}

TEST_CASE("searching on is never worse", "[quality]") {
    Random random(8);
    for (int i = 0; i < 16; ++i) {
        const Case one = random_case(random);
        const PlacerOptions options = options_for(kObjectives[i % 2]);
        Placed placed = place(one.problem, one.deployment, options);
        // the risk by its definition is tested elsewhere
        const auto score = [&] {
            if (placed.beta == 0)
                return fullest_of(one.problem, placed.placement);
            eplb::RiskSearch search(one.problem,
                                    eplb::SlotTable(placed.placement, one.problem.num_experts));
            search.set_beta(placed.beta);
            return search.risk();
        };
        double before = score();
        for (const int round : {1, 2}) {
            improve(one.problem, one.deployment, options, round, placed);
            check_placement(one.problem, one.deployment, placed.placement);
            CHECK(score() <= before);
            before = score();
        }
    }
}

TEST_CASE("a search may go on for many rounds") {
    const PlacementProblem problem = make_problem(2, 2, {1, 1, 1});
    const PlacerOptions options = options_for(Objective::aggregated);
    Placed placed = place(problem, deployment_of(problem), options);
    for (const int round : {6, 30, 31, 32, 100}) {
        improve(problem, deployment_of(problem), options, round, placed);
        check_placement(problem, deployment_of(problem), placed.placement);
        // one expert on both ranks, two on one each
        CHECK(fullest_of(problem, placed.placement) == 1.5);
    }
}

TEST_CASE("nodes are never fuller than DeepSeek's, and ranks are less full on average",
          "[quality]") {
    struct Shape {
        int num_experts;
        int ep_size;
        int num_slots;
        int num_nodes;
        int num_groups;
    };
    Random random(10);
    int num_ranks_fuller = 0;
    double sum = 0;
    int num_cases = 0;
    for (const Shape& shape : {Shape{64, 16, 80, 4, 8}, Shape{64, 8, 72, 2, 8},
                               Shape{96, 12, 120, 3, 12}, Shape{32, 8, 48, 2, 4}})
        for (int i = 0; i < 15; ++i) {
            const PlacementProblem problem =
                make_problem(shape.ep_size, shape.num_slots / shape.ep_size,
                             skewed_loads(random, shape.num_experts, 0.3 + 0.1 * (i % 5)));
            const std::vector<float> load(problem.load.begin(), problem.load.end());
            const Placement theirs = place_deepseek(load, shape.ep_size, shape.num_slots,
                                                    shape.num_nodes, shape.num_groups);
            const Deployment deployment = deployment_of(problem, shape.num_nodes, shape.num_groups);
            const Placement ours =
                place(problem, deployment, options_for(Objective::aggregated)).placement;
            check_placement(problem, deployment, ours);
            CAPTURE(shape.num_experts, shape.ep_size, i);
            CHECK(largest(node_loads(problem, ours, shape.num_nodes)) <=
                  largest(node_loads(problem, theirs, shape.num_nodes)) * (1 + 1e-6));
            const double ratio = fullest_of(problem, ours) / fullest_of(problem, theirs);
            num_ranks_fuller += ratio > 1 ? 1 : 0;
            sum += ratio;
            ++num_cases;
            CHECK(fullest_of(problem, ours) / problem.mean_load() - 1 >=
                  imbalance_bound(problem, deployment) * (1 - 1e-6) - 1e-9);
        }
    CHECK(sum / num_cases < 0.99);
    CHECK(num_ranks_fuller <= num_cases / 20);
}

}  // namespace eplb::test_placer
