#include <nlohmann/json.hpp>

#include "lib/report/views/speedup.h"
#include "tests/report/subjects.h"
#include "tests/test_support.h"

namespace eplb::test_speedup {

using test::Counts;
using test::subject_of;

namespace {

nlohmann::json worth(const Subject& before,
                     const Subject* after,
                     const WorthOptions& options = {}) {
    const MeasuredSubject measured_before = test::measured(before);
    if (after == nullptr)
        return test::json_of(worth_table({&measured_before}, {}, Pairing::independent, options));
    const MeasuredSubject measured_after = test::measured(*after);
    return test::json_of(
        worth_table({&measured_before}, {&measured_after}, Pairing::independent, options));
}

// t0 20 us, 10 us for an expert's weights, 0.5 us for a row
nlohmann::json timed_worth(const Subject& before,
                           const Subject* after,
                           const WorthOptions& options = {}) {
    GpuCost gpu;
    gpu.profile.name = "toy";
    gpu.cost = {20, 10, 0.5};
    ThreadPool threads(1);
    const MeasuredSubject measured_before = test::measured(before);
    const TimedSubject timed_before = time_subject(before, gpu, 0, threads);
    const WorthSide first = {&measured_before, &timed_before};
    if (after == nullptr)
        return test::json_of(worth_table(first, {}, Pairing::independent, options));
    const MeasuredSubject measured_after = test::measured(*after);
    const TimedSubject timed_after = time_subject(*after, gpu, 0, threads);
    return test::json_of(
        worth_table(first, {&measured_after, &timed_after}, Pairing::paired, options));
}

}  // namespace

// layer 1: 70 us -> 40, layer 2: 30 -> 30
TEST_CASE("on a GPU layers take as long as their slowest rank, and their times add up") {
    const Subject before = subject_of("a", 2, {1, 2}, {Counts(8, {100, 0}), Counts(8, {8, 0})});
    const Subject after = subject_of("b", 2, {1, 2}, {Counts(8, {40, 40}), Counts(8, {4, 4})});
    const nlohmann::json table =
        timed_worth(before, &after, {.moe_share = 0.5, .tokens_per_second_per_rank = 100});
    CHECK(table["rows"][0]["time_us_before"] == 70);
    CHECK(table["rows"][0]["time_us_after"] == 40);
    CHECK(table["rows"][0]["speedup"] == 1.75);
    CHECK(table["rows"][1]["speedup"] == 1);  // half the tokens, the same weights
    CHECK(table["moe_time_us_before"] == 100);
    CHECK(table["moe_time_us_after"] == 70);
    CHECK(table["average"]["time_us_before"] == 50);
    CHECK(table["moe_speedup"] == Approx(10.0 / 7));
    CHECK(table["moe_speedup_low"] == Approx(10.0 / 7));
    // 1 / (0.5 + 0.5 / (10 / 7)) = 20 / 17
    CHECK(table["model_speedup"] == Approx(20.0 / 17));
    CHECK(table["tokens_per_second_per_rank_after"] == Approx(2000.0 / 17));
    CHECK(table["tokens_per_second_before"] == 200);
    CHECK(table["tokens_per_second_after"] == Approx(4000.0 / 17));
}

TEST_CASE("on a GPU even tokens may gain nothing") {
    const nlohmann::json table =
        timed_worth(subject_of("a", 2, {1}, {{{12, 2}, {14, 2}}}), nullptr);
    CHECK(table["token_ratio"] > 1.7);
    CHECK(table["moe_speedup"] == 1);
    CHECK(table["rows"][0]["time_us_after"] == 30);
}

TEST_CASE("a share of the time gets faster: Amdahl's law") {
    CHECK(whole_speedup(0.5, 2) == Approx(4.0 / 3));
    CHECK(whole_speedup(1, 3) == Approx(3));
    CHECK(whole_speedup(0.25, 1) == 1);
}

// layer 1: 6 -> 4 of mean 4, layer 2: 8 -> 6, and twice the tokens after; in all 14 -> 10
TEST_CASE("the fullest ranks' tokens, at equally many per rank, add up over layers") {
    const Subject before = subject_of("a", 2, {1, 2}, {{{6, 2}, {2, 6}}, {{8, 0}, {8, 0}}});
    const Subject after = subject_of("b", 2, {1, 2}, {{{8, 8}, {8, 8}}, {{12, 4}, {12, 4}}});
    const nlohmann::json table = worth(before, &after);
    CHECK(table["rows"][0]["mean_tokens"] == 4);
    CHECK(table["rows"][0]["max_tokens_before"] == 6);
    CHECK(table["rows"][0]["max_tokens_after"] == 4);
    CHECK(table["rows"][0]["token_ratio"] == 1.5);
    CHECK(table["rows"][1]["max_tokens_after"] == 6);
    CHECK(table["average"]["max_tokens_before"] == 7);
    CHECK(table["average"]["max_tokens_after"] == 5);
    CHECK(table["average"]["token_ratio"] == Approx(1.4));
    CHECK(table["token_ratio"] == Approx(1.4));
    CHECK_FALSE(table.contains("moe_speedup"));
    CHECK(table.dump().find("as fast") == std::string::npos);
    CHECK(table["notes"].back().get<std::string>().find("Tokens are not time") !=
          std::string::npos);
}

TEST_CASE("of one load, perfect balance is the most to gain") {
    const Subject before = subject_of("a", 2, {1}, {{{6, 2}, {4, 4}}});
    const nlohmann::json table = worth(before, nullptr);
    CHECK(table["rows"][0]["max_tokens_after"] == 4);
    CHECK(table["token_ratio"] == 1.25);
    CHECK(table["name_after"] == "perfect balance");
    CHECK(table["notes"].back().get<std::string>().find(
              "1.250 times the tokens that it has with perfect balance") != std::string::npos);
}

// iterations of 8 and of 80 tokens: the fullest ranks have 8 + 40 of 4 + 40
TEST_CASE("tokens add up over iterations, so that large iterations count for more") {
    const Subject before = subject_of("a", 2, {1}, {{{8, 0}, {40, 40}}});
    CHECK(worth(before, nullptr)["token_ratio"] == Approx(48.0 / 44));
}

TEST_CASE("a load is as even as itself, and layers without tokens are left out") {
    Counts counts;
    for (int i = 0; i < 12; ++i)
        counts.push_back({6 + i % 3, 2});
    const Subject load = subject_of("a", 2, {1, 2}, {counts, Counts(12, {0, 0})});
    const MeasuredSubject measured = test::measured(load);
    const nlohmann::json table =
        test::json_of(worth_table({&measured}, {&measured}, Pairing::paired, {}));
    CHECK(table["token_ratio"] == 1);
    CHECK(table["token_ratio_low"] == 1);
    CHECK(table["token_ratio_high"] == 1);
    CHECK(table["rows"][1]["token_ratio"].is_null());
}

TEST_CASE("a share is above 0 and at most 1") {
    const Subject load = subject_of("a", 2, {1}, {{{6, 2}}});
    for (const double share : {0.0, -0.5, 1.5})
        CHECK_STARTS_WITH(test::error_of([&] { worth(load, nullptr, {.moe_share = share}); }),
                          "moe_share");
}

}  // namespace eplb::test_speedup
