#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "lib/placement/plan/planner.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

namespace eplb::test_planner {

using eplb::Algorithm;
using eplb::check_plan_request;
using eplb::ExpertStatistics;
using eplb::make_plan;
using eplb::num_duplicate_slots;
using eplb::Placement;
using eplb::plan;
using eplb::PlanRequest;
using eplb::replica_counts;
using eplb::ThreadPool;
using eplb::Workload;
using eplb::test::error_of;
using eplb::test::make_statistics;

namespace {

// Long-tailed counts: few experts take most tokens.
ExpertStatistics skewed_statistics(int num_layers, int num_experts, unsigned seed) {
    ExpertStatistics statistics = make_statistics(num_layers, 2, 2, num_experts);
    std::mt19937 random(seed);
    for (std::int64_t& count : statistics.counts)
        count = static_cast<std::int64_t>(100000 / (1 + random() % 1000));
    return statistics;
}

ExpertStatistics one_layer(std::vector<std::int64_t> counts) {
    ExpertStatistics statistics = make_statistics(1, 1, 1, static_cast<int>(counts.size()));
    statistics.counts = std::move(counts);
    return statistics;
}

std::vector<Placement> plan_with(int num_threads,
                                 const ExpertStatistics& statistics,
                                 const PlanRequest& request) {
    ThreadPool threads(num_threads);
    return plan(statistics, request, threads);
}

// Counts of a whole run as one iteration; dense layers, which are zero rows, left out.
ExpertStatistics read_logical_count(const std::string& name) {
    const std::filesystem::path path = eplb::test::real_data() / "deepseek-r1" / name;
    const auto counts = nlohmann::json::parse(eplb::test::read_text(path))["logical_count"];
    ExpertStatistics statistics = make_statistics(0, 1, 1, static_cast<int>(counts[0].size()));
    for (std::size_t layer = 0; layer < counts.size(); ++layer) {
        const auto row = counts[layer].get<std::vector<double>>();
        if (std::accumulate(row.begin(), row.end(), 0.0) == 0)
            continue;
        statistics.layers.push_back(static_cast<int>(layer));
        statistics.counts.insert(statistics.counts.end(), row.begin(), row.end());
    }
    return statistics;
}

// Mean over layers of max / mean - 1 over the ranks.
double planned_imbalance(const ExpertStatistics& statistics, const PlanRequest& request) {
    const std::vector<Placement> placements = plan_with(2, statistics, request);
    double sum = 0;
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const Placement& placement = placements[layer];
        const std::vector<double> load =
            rank_load(projected_load(statistics, layer, placement.expert_ids), request.ep_size)
                .values();
        sum += *std::max_element(load.begin(), load.end()) * request.ep_size /
                   std::accumulate(load.begin(), load.end(), 0.0) -
               1;
    }
    return sum / statistics.num_layers();
}

const PlanRequest kGreedy36 = {Algorithm::greedy, 36, 288, 1, 1};

}  // namespace

TEST_CASE("a plan has a placement per layer, and every expert has a slot") {
    const ExpertStatistics statistics = skewed_statistics(5, 64, 1);
    const std::vector<PlanRequest> requests = {
        {Algorithm::greedy, 8, 64, 1, 1},   {Algorithm::greedy, 8, 72, 1, 1},
        {Algorithm::greedy, 6, 96, 1, 1},   {Algorithm::deepseek, 8, 64, 1, 1},
        {Algorithm::deepseek, 8, 80, 2, 8}, {Algorithm::deepseek, 12, 96, 3, 8}};
    for (const PlanRequest& request : requests) {
        const std::vector<Placement> placements = plan_with(1, statistics, request);
        REQUIRE(placements.size() == 5);
        for (const Placement& placement : placements) {
            CHECK(placement.ep_size == request.ep_size);
            CHECK(placement.num_slots() == request.num_slots);
            CHECK(static_cast<int>(placement.expert_ids.size()) == request.num_slots);
            const std::vector<int> counts = replica_counts(placement.expert_ids, 64);
            CHECK(*std::min_element(counts.begin(), counts.end()) >= 1);
        }
    }
}

TEST_CASE("a greedy plan places the replicas that greedy replication asks for") {
    const ExpertStatistics statistics = skewed_statistics(3, 64, 2);
    const std::vector<Placement> placements =
        plan_with(1, statistics, {Algorithm::greedy, 8, 80, 1, 1});
    for (int layer = 0; layer < 3; ++layer) {
        std::vector<float> load;
        for (const std::int64_t count : total_counts(statistics, layer))
            load.push_back(static_cast<float>(count));
        const std::vector<int> counts = eplb::replicate_greedy(load, 80);
        const Placement& placement = placements[layer];
        CHECK(replica_counts(placement.expert_ids, 64) == counts);
        CHECK(placement == eplb::pack_greedy(load, counts, 8, 10));
    }
}

TEST_CASE("a plan is the same for any number of threads") {
    const ExpertStatistics statistics = skewed_statistics(13, 64, 3);
    for (const Algorithm algorithm : {Algorithm::greedy, Algorithm::deepseek}) {
        const PlanRequest request = {algorithm, 8, 72, 2, 8};
        const std::vector<Placement> alone = plan_with(1, statistics, request);
        CHECK(plan_with(2, statistics, request) == alone);
        CHECK(plan_with(7, statistics, request) == alone);
    }
}

TEST_CASE("counts are summed as integers before they become float32") {
    // as floats, 2^24 + 1 + 1 would stay 2^24, and expert 0 would win the only replica by its id
    ExpertStatistics statistics = make_statistics(1, 3, 1, 2);
    statistics.counts = {16777216, 16777217, 1, 0, 1, 0};
    const std::vector<Placement> placements =
        plan_with(1, statistics, {Algorithm::greedy, 3, 3, 1, 1});
    CHECK(replica_counts(placements[0].expert_ids, 2) == std::vector<int>{2, 1});
}

TEST_CASE("an expert that carries everything gets every spare slot") {
    std::vector<std::int64_t> counts(16, 0);
    counts[5] = 1000000;
    for (const Algorithm algorithm : {Algorithm::greedy, Algorithm::deepseek}) {
        const std::vector<Placement> placements =
            plan_with(1, one_layer(counts), {algorithm, 8, 32, 1, 1});
        const std::vector<int> replicas = replica_counts(placements[0].expert_ids, 16);
        CHECK(replicas[5] == 17);
        CHECK(std::count(replicas.begin(), replicas.end(), 1) == 15);
    }
}

TEST_CASE("a layer without tokens gets evenly dealt replicas") {
    const std::vector<Placement> placements =
        plan_with(1, one_layer(std::vector<std::int64_t>(5, 0)), {Algorithm::greedy, 4, 12, 1, 1});
    CHECK(replica_counts(placements[0].expert_ids, 5) == std::vector<int>{3, 3, 2, 2, 2});
}

TEST_CASE("equal loads spread evenly") {
    const ExpertStatistics statistics = one_layer(std::vector<std::int64_t>(32, 9));
    for (const Algorithm algorithm : {Algorithm::greedy, Algorithm::deepseek}) {
        const std::vector<Placement> placements =
            plan_with(1, statistics, {algorithm, 8, 32, 1, 1});
        const std::vector<int> replicas = replica_counts(placements[0].expert_ids, 32);
        CHECK(replicas == std::vector<int>(32, 1));
        const eplb::LayerLoad load =
            rank_load(projected_load(statistics, 0, placements[0].expert_ids), 8);
        CHECK(load.values() == std::vector<double>(8, 36.0));
    }
}

TEST_CASE("with as many slots as experts a plan is a permutation") {
    const ExpertStatistics statistics = skewed_statistics(4, 64, 4);
    for (const Algorithm algorithm : {Algorithm::greedy, Algorithm::deepseek})
        for (const Placement& placement : plan_with(1, statistics, {algorithm, 16, 64, 1, 1}))
            CHECK(replica_counts(placement.expert_ids, 64) == std::vector<int>(64, 1));
}

TEST_CASE("one rank and one expert are no special case") {
    CHECK(plan_with(1, one_layer({4}), {Algorithm::greedy, 3, 3, 1, 1})[0].expert_ids ==
          std::vector<int>{0, 0, 0});
    CHECK(plan_with(1, one_layer({4}), {Algorithm::deepseek, 3, 3, 1, 1})[0].expert_ids ==
          std::vector<int>{0, 0, 0});
    CHECK(plan_with(1, one_layer({4, 5}), {Algorithm::greedy, 1, 2, 1, 1})[0].expert_ids ==
          std::vector<int>{1, 0});
}

TEST_CASE("a plan request that cannot be is refused with the remedy") {
    const auto refusal = [](const PlanRequest& request, int num_experts) {
        return error_of([&] { check_plan_request(request, num_experts); });
    };
    CHECK(refusal(kGreedy36, 256).empty());
    CHECK(refusal({Algorithm::greedy, 36, 290, 1, 1}, 256) ==
          "num_slots 290 is not a multiple of ep_size 36; nearest: 288 and 324");
    CHECK(refusal({Algorithm::greedy, 36, 256, 1, 1}, 256) ==
          "num_slots 256 is not a multiple of ep_size 36; nearest: 288");
    CHECK(refusal({Algorithm::greedy, 36, 252, 1, 1}, 256) ==
          "num_slots 252 is less than the 256 experts, which need a slot each; the smallest for "
          "ep_size 36 is 288");
    CHECK(refusal({Algorithm::greedy, 0, 256, 1, 1}, 256) == "ep_size 0: must be 1 or more");
    CHECK(refusal({Algorithm::deepseek, 36, 288, 0, 1}, 256) == "num_nodes 0: must be 1 or more");
    CHECK(refusal({Algorithm::deepseek, 36, 288, 9, 0}, 256) == "num_groups 0: must be 1 or more");
    CHECK(refusal({Algorithm::deepseek, 36, 288, 8, 8}, 256)
              .find("num_nodes 8 does not divide ep_size 36") == 0);
    CHECK(refusal({Algorithm::deepseek, 36, 288, 9, 7}, 256)
              .find("num_groups 7 does not divide the 256 experts") == 0);
    // nodes and groups mean nothing to greedy
    CHECK(refusal({Algorithm::greedy, 36, 288, 8, 7}, 256).empty());
}

TEST_CASE("a plan needs experts, not slots") {
    ExpertStatistics statistics = skewed_statistics(1, 256, 5);
    statistics.ids = eplb::IdKind::slot;
    CHECK(error_of([&] { plan_with(1, statistics, kGreedy36); }).find("the ids are slots") !=
          std::string::npos);
}

TEST_CASE("a search that cannot be is refused with the remedy") {
    const auto refusal = [](const PlanRequest& request) {
        return error_of([&] { check_plan_request(request, 24); });
    };
    for (const Algorithm algorithm :
         {Algorithm::automatic, Algorithm::aggregated, Algorithm::risk}) {
        const PlanRequest good = {algorithm, 8, 64, 1, 1};
        CHECK(refusal(good).empty());
        const auto with = [&](auto PlanRequest::*member, auto value) {
            PlanRequest request = good;
            request.*member = value;
            return request;
        };
        CHECK(refusal(with(&PlanRequest::min_replicas, 9)) ==
              "no expert can be on 9 ranks: there are 8");
        CHECK(refusal(with(&PlanRequest::min_replicas, 3)) ==
              "num_slots 64 is less than 3 for each of the 24 experts; the smallest for ep_size 8 "
              "is 72");
        CHECK(refusal(with(&PlanRequest::min_replicas, 0)) == "min_replicas 0: must be 1 or more");
        CHECK_STARTS_WITH(refusal(with(&PlanRequest::num_nodes, 3)),
                          "num_nodes 3 does not divide ep_size 8");
        PlanRequest nodes = with(&PlanRequest::num_nodes, 8);
        nodes.min_replicas = 2;
        CHECK(refusal(nodes) == "no expert can be on 2 ranks: there are 1 on its node");
        nodes = with(&PlanRequest::num_nodes, 2);
        nodes.num_groups = 3;
        CHECK_STARTS_WITH(refusal(nodes), "num_groups 3 is no multiple of num_nodes 2");
        nodes.num_groups = 5;
        CHECK_STARTS_WITH(refusal(nodes), "num_groups 5 does not divide the 24 experts");
        CHECK_STARTS_WITH(error_of([&] {
                              check_plan_request({algorithm, 8, 64, 2, 1}, 25);
                          }),
                          "num_nodes 2 does not divide the 25 experts");
    }
    // speeds count in the figures of every algorithm
    for (const Algorithm algorithm : {Algorithm::risk, Algorithm::greedy, Algorithm::deepseek}) {
        PlanRequest request = {algorithm, 4, 24, 1, 1};
        request.rank_speed = {1, 1, 1};
        CHECK(refusal(request) == "speeds of 3 ranks, but ep_size 4");
        for (const double speed : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
            request.rank_speed = {1, 1, 1, speed};
            CHECK(refusal(request) == "a rank's speed must be above 0");
        }
    }
}

TEST_CASE("workloads that cannot share a placement are refused") {
    const ExpertStatistics statistics = skewed_statistics(2, 16, 25);
    const auto refusal = [&](const ExpertStatistics& other) {
        const std::vector<Workload> workloads = {{&statistics}, {&other}};
        ThreadPool threads(1);
        return error_of([&] {
            make_plan(workloads, {Algorithm::aggregated, 4, 20, 1, 1}, {}, threads);
        });
    };
    ExpertStatistics slots = statistics;
    slots.ids = eplb::IdKind::slot;
    CHECK_STARTS_WITH(
        refusal(slots),
        "statistics: the ids are slots of a config, not experts; fold them with the config");
    ExpertStatistics other = statistics;
    other.layers[1] = 9;
    CHECK_STARTS_WITH(refusal(other),
                      "statistics: workloads of different experts, top_k or layers");
}

TEST_CASE("duplicate slots are those that add no rank to an expert") {
    CHECK(num_duplicate_slots(Placement{2, 3, {0, 1, 2, 2, 1, 0}}) == 0);
    CHECK(num_duplicate_slots(Placement{2, 3, {0, 0, 0, 1, 2, 1}}) == 3);
    CHECK(num_duplicate_slots(Placement{3, 1, {0, 0, 0}}) == 0);
}

TEST_CASE("greedy balances DeepSeek-R1's workloads as far as an independent program measured",
          "[quality]") {
    if (eplb::test::real_data().empty()) {
        SUCCEED("no real data beside the checkout");
        return;
    }
    struct Range {
        int ep_size;
        int num_slots;
        double least;
        double most;
    };
    const std::vector<Range> ranges = {{32, 256, 0.09, 0.22},   {32, 288, 0.006, 0.008},
                                       {36, 288, 0.007, 0.009}, {64, 320, 0.016, 0.023},
                                       {72, 288, 0.022, 0.028}, {144, 288, 0.10, 0.26}};
    for (const std::string name :
         {"prefill_in512", "prefill_in1024", "prefill_in2000out100", "prefill_in4096",
          "decode_in1000out1000", "decode_in2000out100"}) {
        const ExpertStatistics statistics = read_logical_count(name + ".json");
        REQUIRE(statistics.num_layers() == 58);
        for (const Range& range : ranges) {
            CAPTURE(name, range.ep_size, range.num_slots);
            const double imbalance = planned_imbalance(
                statistics, {Algorithm::greedy, range.ep_size, range.num_slots, 1, 1});
            // the ranges are rounded to their last digit
            const double rounding = range.most < 0.05 ? 0.0005 : 0.005;
            CHECK(imbalance >= range.least - rounding);
            CHECK(imbalance <= range.most + rounding);
        }
    }
}

}  // namespace eplb::test_planner
