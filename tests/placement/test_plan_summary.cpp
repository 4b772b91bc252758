#include <optional>
#include <vector>

#include "lib/placement/plan/fewest_slots.h"
#include "lib/placement/plan/plan_config.h"
#include "lib/placement/plan/plan_summary.h"
#include "lib/placement/plan/update_summary.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

namespace eplb::test_plan_summary {

using eplb::test::make_statistics;

namespace {

// One layer, one iteration, two ranks.
ExpertStatistics statistics_of(const std::vector<std::int64_t>& counts) {
    ExpertStatistics statistics = make_statistics(1, 1, 1, static_cast<int>(counts.size()));
    statistics.ep_size = 2;
    statistics.counts = counts;
    return statistics;
}

LayerUpdate update_of(std::vector<int> rank_moves, double current_imbalance) {
    LayerUpdate update;
    update.rank_moves = std::move(rank_moves);
    update.current_imbalance = current_imbalance;
    return update;
}

// Two layers of six slots, on two ranks.
Plan plan_of(PredictionBasis basis, double predicted) {
    Plan plan;
    plan.layers.resize(2);
    plan.layers[0].placement = {2, 3, {0, 1, 2, 3, 0, 1}};
    plan.layers[0].fitted = 0.2;
    plan.layers[1].placement = {2, 3, {3, 3, 2, 1, 0, 1}};
    plan.layers[1].fitted = 0.1;
    plan.basis = basis;
    plan.prediction.imbalance = predicted;
    return plan;
}

}  // namespace

TEST_CASE("an update is summed over layers and ranks; the first of equals has the most") {
    const std::vector<LayerUpdate> updates = {update_of({1, 0}, 0.5), update_of({2, 3}, 0.1)};
    const UpdateSummary summary = summarize(updates, plan_of(PredictionBasis::iterations, 0.15));
    CHECK(summary.num_slots == 12);
    CHECK(summary.num_moves == 6);
    CHECK(summary.most_layer == 1);
    CHECK(summary.most_per_layer == 5);
    CHECK(summary.rank_moves == std::vector<int>{3, 3});
    CHECK(summary.most_rank == 0);
    CHECK(summary.most_per_rank == 3);
    CHECK(summary.current_imbalance == Approx(0.3));
    CHECK(summary.fitted == Approx(0.15));
    CHECK(summary.gain.value() == Approx(0.5));
    CHECK(summary.is_worth_it());
}

TEST_CASE("an update is worth nothing below one percent, without moves or without a prediction") {
    const std::vector<LayerUpdate> updates = {update_of({1, 0}, 0.3), update_of({0, 0}, 0.3)};
    const std::vector<LayerUpdate> still = {update_of({0, 0}, 0.3), update_of({0, 0}, 0.3)};
    CHECK(summarize(updates, plan_of(PredictionBasis::iterations, 0.298)).is_worth_it());
    CHECK_FALSE(summarize(updates, plan_of(PredictionBasis::iterations, 0.2995)).is_worth_it());
    CHECK_FALSE(summarize(updates, plan_of(PredictionBasis::none, 0.1)).gain);
    CHECK_FALSE(summarize(still, plan_of(PredictionBasis::iterations, 0.1)).gain);
}

TEST_CASE("what is in force is found, kept and filled up") {
    EplbConfig in_force;
    in_force.num_slots = 6;
    in_force.initial_global_assignments = {{3, {0, 1, 2, 3, 2, 3}}, {9, {3, 2, 1, 0, 0, 0}}};
    const Placement otherwise = {2, 3, {0, 1, 2, 2, 3, 0}};
    const PlacementsInForce found =
        placements_in_force(in_force, std::vector<int>{3, 4}, otherwise);
    REQUIRE(found.placements.size() == 2);
    CHECK(found.placements[0] == Placement{2, 3, {0, 1, 2, 3, 2, 3}});
    CHECK(found.placements[1] == otherwise);
    CHECK(found.missing_layers == std::vector<int>{4});

    const Plan plan = plan_of(PredictionBasis::none, 0);
    EplbConfig config = config_of(plan, std::vector<int>{3, 4});
    CHECK(config.num_slots == 6);
    CHECK(keep_other_layers(in_force, config) == std::vector<int>{9});
    CHECK(fill_layers(std::vector<int>{4, 9, 10}, otherwise, config) == std::vector<int>{10});
    CHECK(config.initial_global_assignments ==
          std::map<int, std::vector<int>>{{3, plan.layers[0].placement.expert_ids},
                                          {4, plan.layers[1].placement.expert_ids},
                                          {9, {3, 2, 1, 0, 0, 0}},
                                          {10, otherwise.expert_ids}});
}

TEST_CASE("figures of a plan are over its layers with tokens") {
    Plan plan = plan_of(PredictionBasis::none, 0);
    CHECK(num_duplicate_slots(plan) == 2);  // expert 3 on rank 0 and 1 on rank 1, of layer 1
    plan.layers[1].has_tokens = true;
    plan.layers[1].aggregated = 0.5;
    plan.layers[1].bound = 0.25;
    CHECK(largest_bound_gap(plan).layer == 1);
    CHECK(most_forced_layer(plan) == 1);
    plan.layers[0].has_tokens = true;
    plan.layers[0].aggregated = 0.375;
    plan.layers[0].bound = 0;
    CHECK(largest_bound_gap(plan).layer == 0);
    CHECK(largest_bound_gap(plan).gap == 0.375);
    CHECK(most_forced_layer(plan) == 1);
}

TEST_CASE("before a plan there is what was recorded, or experts in order") {
    const std::vector<ExpertStatistics> statistics = {statistics_of({5, 1, 1, 1})};
    PlanRequest request;
    request.ep_size = 3;  // does not divide the experts: as recorded, 6 and 2 tokens
    const std::optional<ImbalanceBefore> in_order =
        imbalance_before(statistics, std::nullopt, request);
    REQUIRE(in_order);
    CHECK(in_order->ep_size == 2);
    CHECK(in_order->imbalance_ratio == Approx(0.5));
    request.ep_size = 4;  // 5 of 2 on average
    CHECK(imbalance_before(statistics, std::nullopt, request)->imbalance_ratio == Approx(1.5));
    request.rank_speed = {1, 1, 1, 2};
    CHECK_FALSE(imbalance_before(statistics, std::nullopt, request));

    RecordedUnder under;
    under.config.num_slots = 6;
    under.slot_load = {{1, 6, {1, 2, 1, 1, 2, 1}}};
    const std::optional<ImbalanceBefore> in_force = imbalance_before(statistics, under, request);
    REQUIRE(in_force);
    CHECK(in_force->ep_size == 0);
    CHECK(in_force->imbalance_ratio == 0);
}

TEST_CASE("the first number of slots that is enough ends the search") {
    const ExpertStatistics statistics = statistics_of({3, 1});
    const std::vector<Workload> workloads = {{&statistics}};
    PlanRequest request;
    request.algorithm = Algorithm::greedy;
    request.ep_size = 2;
    ThreadPool threads(1);
    std::vector<int> tried;
    const auto find = [&](const std::vector<int>& num_slots, double max_imbalance) {
        tried.clear();
        return plan_fewest_slots(
            workloads, request, num_slots, max_imbalance, {},
            [&](int slots, const Plan&) { tried.push_back(slots); }, threads);
    };
    const FewestSlots two = find({2, 3, 4}, 0.5);  // 3 tokens and 1
    CHECK(two.is_enough);
    CHECK(two.num_slots == 2);
    CHECK(two.plan.layers.size() == 1);
    CHECK(tried == std::vector<int>{2});
    const FewestSlots four = find({2, 3, 4}, 0.01);  // three of four slots for the first expert
    CHECK(four.is_enough);
    CHECK(four.num_slots == 4);
    CHECK(tried == std::vector<int>{2, 4});
    const FewestSlots best = find({2}, 0.01);
    CHECK_FALSE(best.is_enough);
    CHECK(best.num_slots == 2);
    CHECK(best.imbalance == Approx(0.5));
    CHECK(find({1, 3}, 1).num_slots == 0);
}

}  // namespace eplb::test_plan_summary
