#include <cmath>
#include <vector>

#include "lib/report/views/views.h"
#include "tests/report/subjects.h"

namespace eplb::test_views {

using namespace eplb::test;

namespace {

// Two layers, three iterations, four experts on two ranks; layer 4 is idle in iteration 102.
const Tokens kTokens = {
    {{6, 0, 1, 1}, {1, 1, 2, 4}, {2, 2, 2, 2}},  // ranks 6 2 | 2 6 | 4 4
    {{0, 4, 0, 0}, {1, 2, 0, 1}, {0, 0, 0, 0}},  // ranks 4 0 | 3 1
};

Approx near(double value) {
    return Approx(value).epsilon(1e-12);
}

Subject under_config() {
    // expert 0 twice on rank 0 and once on rank 1
    const Placement placement{2, 4, {0, 0, 1, 2, 0, 3, 2, 1}};
    return projected_subject(statistics_of(kTokens), "config", {placement, placement});
}

}  // namespace

TEST_CASE("layers: figures, the worst rank and what makes it hot") {
    ThreadPool threads(2);
    const Table table = layer_table(measured(subject_of(kTokens, 2), Bins::ranks), threads);
    REQUIRE(table.rows.size() == 2);
    // ratios 0.5, 0.5, 0
    CHECK(number(table, 0, "imbalance_ratio") == near(1.0 / 3));
    CHECK(number(table, 0, "balancedness") == near((4.0 / 6 + 4.0 / 6 + 1) / 3));
    CHECK(number(table, 0, "p50") == near(0.5));
    CHECK(number(table, 0, "max") == near(0.5));
    CHECK(number(table, 0, "worst_rank") == 0);  // 12 tokens each: the lower
    CHECK(number(table, 0, "worst_load") == near(1));
    CHECK(list(table, 0, "hottest_experts") == IntegerList{0, 1});  // 9 and 3 tokens
    // ratios 1, 0.5
    CHECK(number(table, 1, "imbalance_ratio") == near(0.75));
    CHECK(number(table, 1, "worst_load") == near(2 * 7.0 / 8));
    CHECK(list(table, 1, "hottest_experts") == IntegerList{1, 0});  // 6 and 1
    CHECK(number(table, 2, "imbalance_ratio") == near((1.0 / 3 + 0.75) / 2));
}

TEST_CASE("layers: replicas of one rank count as one expert, experts without tokens are not hot") {
    ThreadPool threads(1);
    const Table table = layer_table(measured(under_config(), Bins::ranks), threads);
    // layer 3: expert 0 has 9 tokens, 3 a slot; rank 0 holds 6 + 1.5 + 2.5, rank 1 3 + 7 + 2.5
    // + 1.5
    CHECK(number(table, 0, "worst_rank") == 1);
    CHECK(number(table, 0, "worst_load") == near(2 * 14.0 / 24));
    CHECK(list(table, 0, "hottest_experts") == IntegerList{3, 0, 2});
    // layer 4: rank 0 holds 2/3 + 3, rank 1 1/3 + 1 + 3; expert 2 has no token
    CHECK(list(table, 1, "hottest_experts") == IntegerList{1, 3, 0});
}

TEST_CASE("layers over slots name the worst of them") {
    ThreadPool threads(1);
    const Table experts = layer_table(measured(subject_of(kTokens, 2), Bins::slots), threads);
    CHECK(number(experts, 0, "worst_expert") == 0);
    CHECK(number(experts, 0, "worst_load") == near(4 * 9.0 / 24));
    const Table slots = layer_table(measured(under_config(), Bins::slots), threads);
    CHECK(number(slots, 0, "worst_slot") == 5);  // expert 3, 7 tokens
}

TEST_CASE("percentiles over layers") {
    const Tokens tokens = {{{2, 2}}, {{1, 3}}, {{0, 4}}, {{0, 0}}};  // ratios 0, 0.5, 1, none
    const Table table = percentile_table(measured(subject_of(tokens, 2)));
    // numpy.percentile([0, 0.5, 1], [0, 10, 25, 50, 75, 90, 95, 99, 100])
    const std::vector<double> expected = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1};
    REQUIRE(table.rows.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(number(table, i, "imbalance_ratio") == near(expected[i]));
    CHECK(number(table, expected.size(), "imbalance_ratio") == near(0.5));
}

TEST_CASE("ranks: shares, loads and how often each is the fullest") {
    ThreadPool threads(2);
    const Table table = bin_table(subject_of(kTokens, 2), Bins::ranks, threads);
    REQUIRE(table.rows.size() == 2);
    // rank 0: 12 + 7 of 24 + 8 tokens in five pairs that have any
    CHECK(number(table, 0, "mean") == near(19.0 / 5));
    CHECK(number(table, 0, "share") == near(19.0 / 32));
    CHECK(number(table, 0, "load") == near((1 + 14.0 / 8) / 2));
    CHECK(number(table, 0, "max_load") == near(14.0 / 8));
    CHECK(number(table, 0, "worst_layer") == 4);
    CHECK(number(table, 0, "fullest") == near(4.0 / 5));  // all but iteration 101 of layer 3
    CHECK(number(table, 1, "fullest") == near(1.0 / 5));
    CHECK(number(table, 1, "worst_layer") == 3);
}

TEST_CASE("experts: tokens, replicas and where they are") {
    const Table table = expert_table(under_config());
    REQUIRE(table.rows.size() == 8);
    CHECK(number(table, 0, "layer") == 3);
    CHECK(number(table, 0, "tokens") == 9);
    CHECK(number(table, 0, "share") == near(9.0 / 24));
    CHECK(number(table, 0, "load") == near(1.5));
    CHECK(number(table, 0, "replicas") == 3);
    CHECK(list(table, 0, "ranks") == IntegerList{0, 1});
    CHECK(number(table, 7, "layer") == 4);
    CHECK(number(table, 7, "expert") == 3);
    CHECK(list(table, 7, "ranks") == IntegerList{1});

    ExpertStatistics slots = statistics_of(kTokens);
    slots.ids = IdKind::slot;
    CHECK_STARTS_WITH(error_of([&] { expert_table(recorded_subject(slots, "after", 2)); }),
                      "after: holds slot ids");
}

TEST_CASE("iterations: means over layers and the worst of them") {
    ThreadPool threads(2);
    Tokens tokens = kTokens;
    for (auto& layer : tokens)
        layer.push_back({0, 0, 0, 0});
    const Table table = iteration_table(subject_of(tokens, 2), Bins::ranks, threads);
    REQUIRE(table.rows.size() == 4);
    CHECK(number(table, 0, "iteration") == 100);
    CHECK(number(table, 0, "imbalance_ratio") == near((0.5 + 1) / 2));
    CHECK(number(table, 0, "worst_layer") == 4);
    CHECK(number(table, 0, "worst_imbalance_ratio") == near(1));
    CHECK(number(table, 1, "worst_layer") == 3);      // 0.5 both
    CHECK(number(table, 2, "imbalance_ratio") == 0);  // of layer 3 alone
    CHECK(std::isnan(number(table, 3, "imbalance_ratio")));
}

TEST_CASE("tables do not depend on the number of threads") {
    ThreadPool one(1);
    ThreadPool three(3);
    const Subject subject = under_config();
    for (const Bins bins : {Bins::ranks, Bins::slots}) {
        CHECK(layer_table(measure(subject, bins, one), one).rows ==
              layer_table(measure(subject, bins, three), three).rows);
        CHECK(bin_table(subject, bins, one).rows == bin_table(subject, bins, three).rows);
    }
}

}  // namespace eplb::test_views
