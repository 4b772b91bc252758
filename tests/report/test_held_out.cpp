#include <nlohmann/json.hpp>
#include <vector>

#include "lib/report/views/held_out.h"
#include "lib/report/views/held_out_ranges.h"
#include "lib/report/views/held_out_table.h"
#include "tests/report/subjects.h"
#include "tests/test_support.h"

namespace eplb::test_held_out {

using test::Counts;
using test::statistics_of;

namespace {

// Four experts on two ranks; under the placement 0 and 1 are apart.
const std::vector<Placement> kApart = {{2, 2, {0, 2, 1, 3}}};

HeldOut of_config(const Counts& fit, const Counts& test) {
    HeldOut held_out;
    held_out.placement = "c.yaml";
    held_out.unbalanced = recorded_subject(statistics_of({3}, {test}), "test", 2);
    held_out.fitted = projected_subject(statistics_of({3}, {fit}), "fit", kApart);
    held_out.held_out = projected_subject(statistics_of({3}, {test}), "test", kApart);
    return held_out;
}

nlohmann::json table_of(const HeldOut& held_out, double min_speedup) {
    ThreadPool threads(2);
    return test::json_of(held_out_table(held_out, min_speedup, threads).table);
}

std::string last_note(const nlohmann::json& table) {
    return table["notes"].back().get<std::string>();
}

// In order, 20 + 2 low of 40 tokens are on rank 0, apart 20: a speed-up of 1 + low / 10.
Counts pairs(const std::vector<int>& lows) {
    Counts counts;
    for (const int low : lows)
        counts.push_back({10 + low, 10 + low, 10 - low, 10 - low});
    return counts;
}

}  // namespace

TEST_CASE("iterations of one recording are split into a fit and a test") {
    const auto check = [](const HeldOutRanges& ranges, std::vector<std::int64_t> expected) {
        CHECK(std::vector<std::int64_t>{ranges.fit.start, ranges.fit.stop, ranges.test.start,
                                        ranges.test.stop} == expected);
    };
    const IterationRange recorded = {100, 131};
    check(split_iterations(recorded, {}, {}), {100, 115, 115, 131});
    check(split_iterations(recorded, IterationRange{100, 110}, {}), {100, 110, 110, 131});
    check(split_iterations(recorded, IterationRange{120, 131}, {}), {120, 131, 100, 120});
    check(split_iterations(recorded, {}, IterationRange{120, 131}), {100, 120, 120, 131});
    check(split_iterations(recorded, IterationRange{100, 120}, IterationRange{110, 130}),
          {100, 120, 110, 130});
    CHECK_STARTS_WITH(test::error_of([&] {
                          split_iterations(recorded, IterationRange{90, 110}, {});
                      }),
                      "statistics: holds iterations 100-131 (half open), not 90-110");
    CHECK_STARTS_WITH(test::error_of([&] {
                          split_iterations(recorded, IterationRange{100, 131}, {});
                      }),
                      "iterations 100-131: are all that was recorded");
    CHECK_STARTS_WITH(test::error_of([&] {
                          split_iterations({7, 8}, {}, {});
                      }),
                      "iterations 7-8: a single one");
    CHECK(overlap({0, 5}, {4, 6}));
    CHECK(!overlap({0, 5}, {5, 6}));
}

// fit: 10 + 0 and 10 + 0 of 20; test: in order 20 of 20, apart 12 of 20
TEST_CASE("imbalances of the test and the fit, and what the fullest rank has of tokens") {
    const nlohmann::json table =
        table_of(of_config({{10, 10, 0, 0}}, Counts(9, {12, 8, 0, 0})), 1.02);
    const auto row = table["rows"][0];
    CHECK(row["unbalanced"] == 1);
    CHECK(row["fitted"] == 0);
    CHECK(row["held_out"] == Approx(0.2));
    CHECK(!row.contains("greedy"));
    CHECK(row["token_ratio"] == Approx(2 / 1.2));
    CHECK(table["average"]["token_ratio"] == Approx(2 / 1.2));
    CHECK(table["verdict"] == "worth it");
    CHECK(table["token_ratio_low"] == Approx(2 / 1.2));
    CHECK_STARTS_WITH(last_note(table),
                      "Verdict: worth it. On traffic like the test the fullest rank has "
                      "1.667 times fewer tokens (95 % interval: 1.667 to 1.667");
}

// as above, t0 20 us, 10 us for weights, 0.5 us for a row: in order 20 + 10 + 10 (two active
// experts on rank 0, 12 and 8 rows), apart 20 + 10
TEST_CASE("on a GPU the verdict goes by time") {
    GpuCost gpu;
    gpu.profile.name = "toy";
    gpu.cost = {20, 10, 0.5};
    ThreadPool threads(2);
    const HeldOut held_out = of_config({{10, 10, 0, 0}}, Counts(9, {12, 8, 0, 0}));
    const nlohmann::json table = test::json_of(held_out_table(held_out, 1.02, threads, &gpu).table);
    CHECK(table["rows"][0]["token_ratio"] == Approx(2 / 1.2));
    CHECK(table["rows"][0]["time_us_unbalanced"] == 40);
    CHECK(table["rows"][0]["time_us_held_out"] == 30);
    CHECK(table["average"]["speedup"] == Approx(4.0 / 3));
    CHECK(table["speedup_low"] == Approx(4.0 / 3));
    CHECK_FALSE(table.contains("token_ratio_low"));
    CHECK_STARTS_WITH(last_note(table),
                      "Verdict: worth it. On traffic like the test the experts take 40.0 us -> "
                      "30.0 us an iteration on toy, 1.333 times as fast (95 % interval: 1.333");
    // one active expert on each rank either way: tokens are more even, time is the same
    const HeldOut few = of_config({{10, 10, 0, 0}}, Counts(9, {6, 0, 2, 0}));
    CHECK(test::json_of(held_out_table(few, 1.02, threads, &gpu).table)["verdict"] ==
          "not worth it");
}

// 0 and 2 on one rank under the placement: in order they are apart
TEST_CASE("a placement that does harm is not worth it") {
    const nlohmann::json table =
        table_of(of_config({{10, 10, 0, 0}}, Counts(9, {10, 0, 10, 0})), 1.02);
    CHECK(table["rows"][0]["token_ratio"] == 0.5);
    CHECK(table["verdict"] == "not worth it");
}

TEST_CASE("what iterations cannot tell apart is too little data") {
    // gains from 1 to 1.4, 1.2 on average
    const HeldOut restless = of_config({{10, 10, 0, 0}}, pairs({0, 4, 1, 3, 2, 0, 4, 3, 1, 2}));
    CHECK(table_of(restless, 1.0)["verdict"] == "worth it");
    CHECK(table_of(restless, 1.6)["verdict"] == "not worth it");
    const nlohmann::json table = table_of(restless, 1.19);
    CHECK(table["verdict"] == "too little data");
    CHECK(last_note(table).find("iterations in the test would tell: record more") !=
          std::string::npos);
    CHECK(last_note(table_of(restless, table["average"]["token_ratio"].get<double>()))
              .find("too near to min_speedup") != std::string::npos);

    const nlohmann::json few = table_of(of_config({{10, 10, 0, 0}}, Counts(7, {12, 8, 0, 0})), 1);
    CHECK(few["verdict"] == "too little data");
    CHECK(few["token_ratio_low"].is_null());
    CHECK(last_note(few).find("7 iterations in the test are too few") != std::string::npos);
}

TEST_CASE("a test on iterations of the fit gives no verdict") {
    HeldOut held_out = of_config({{10, 10, 0, 0}}, Counts(9, {12, 8, 0, 0}));
    held_out.overlaps = true;
    const nlohmann::json table = table_of(held_out, 1.02);
    CHECK(table["verdict"] == "none");
    CHECK_STARTS_WITH(last_note(table), "Warning: the test overlaps the fit: no held-out figure");
}

// In the fit's iterations, 100 and 101, experts 0 and 1 are hot, in the others 0 and 2; one slot
// per expert leaves nothing to choose but which of the cold ones is beside which hot one.
TEST_CASE("a placement is fitted to the fit's iterations alone") {
    const Counts counts = {{90, 90, 5, 5}, {80, 80, 5, 5}, {60, 0, 60, 0}, {70, 0, 70, 0}};
    const ExpertStatistics statistics = statistics_of({3}, {counts});
    PlanRequest request;
    request.algorithm = Algorithm::automatic;
    request.ep_size = 2;
    request.num_slots = 4;
    ThreadPool threads(2);
    const HeldOut held_out =
        plan_held_out({&statistics, "a", {100, 102}}, {&statistics, "a", {102, 104}},
                      recorded_subject(statistics, "a", 2), request, threads);
    CHECK(held_out.fitted.iter_start == 100);
    CHECK(held_out.fitted.num_iterations == 2);
    CHECK(held_out.held_out.iter_start == 102);
    CHECK(held_out.unbalanced.iter_start == 102);
    const nlohmann::json row = table_of(held_out, 1.02)["rows"][0];
    CHECK(row["fitted"] == 0);
    CHECK(row["unbalanced"] == 0);
    const std::vector<int> ids = held_out.held_out.placements[0].expert_ids;
    const auto rank_of = [&](int expert) {
        return (std::find(ids.begin(), ids.end(), expert) - ids.begin()) / 2;
    };
    CHECK(rank_of(0) != rank_of(1));
    CHECK(row["held_out"] == (rank_of(0) == rank_of(2) ? 1 : 0));
    REQUIRE(held_out.greedy);
    CHECK(held_out.greedy->iter_start == 102);
}

TEST_CASE("a fit and a test are of one model, with known experts") {
    const ExpertStatistics two = statistics_of({3}, {{{1, 2}}});
    const ExpertStatistics other_layer = statistics_of({4}, {{{1, 2}}});
    const ExpertStatistics three = statistics_of({3}, {{{1, 2, 3}}});
    ExpertStatistics slots = two;
    slots.ids = IdKind::slot;
    const auto error = [&](const ExpertStatistics& test) {
        return test::error_of([&] {
            PlanRequest request;
            request.ep_size = 1;
            request.num_slots = 2;
            ThreadPool threads(1);
            plan_held_out({&two, "a", {100, 101}}, {&test, "b", {100, 101}},
                          recorded_subject(test, "b", 1), request, threads);
        });
    };
    CHECK_STARTS_WITH(error(three), "b: has 3 experts, but a has 2");
    CHECK_STARTS_WITH(error(other_layer), "b: has other layers than a");
    CHECK_STARTS_WITH(error(slots), "b: holds slot ids");
}

}  // namespace eplb::test_held_out
