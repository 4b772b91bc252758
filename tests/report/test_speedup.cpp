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
        return test::json_of(worth_table(measured_before, nullptr, Pairing::independent, options));
    const MeasuredSubject measured_after = test::measured(*after);
    return test::json_of(
        worth_table(measured_before, &measured_after, Pairing::independent, options));
}

}  // namespace

TEST_CASE("a share of the time gets faster: Amdahl's law") {
    CHECK(whole_speedup(0.5, 2) == Approx(4.0 / 3));
    CHECK(whole_speedup(1, 3) == Approx(3));
    CHECK(whole_speedup(0.25, 1) == 1);
}

// layer 1: 6 -> 4 of mean 4, layer 2: 8 -> 6, and twice the tokens after; in all 14 -> 10
TEST_CASE("layers take as long as their fullest rank, and their times add up") {
    const Subject before = subject_of("a", 2, {1, 2}, {{{6, 2}, {2, 6}}, {{8, 0}, {8, 0}}});
    const Subject after = subject_of("b", 2, {1, 2}, {{{8, 8}, {8, 8}}, {{12, 4}, {12, 4}}});
    const nlohmann::json table =
        worth(before, &after, {.moe_share = 0.5, .tokens_per_second_per_rank = 100});
    CHECK(table["rows"][0]["mean_tokens"] == 4);
    CHECK(table["rows"][0]["max_tokens_before"] == 6);
    CHECK(table["rows"][0]["max_tokens_after"] == 4);
    CHECK(table["rows"][0]["speedup"] == 1.5);
    CHECK(table["rows"][1]["max_tokens_after"] == 6);
    CHECK(table["average"]["max_tokens_before"] == 7);
    CHECK(table["average"]["max_tokens_after"] == 5);
    CHECK(table["average"]["speedup"] == Approx(1.4));
    CHECK(table["moe_speedup"] == Approx(1.4));
    // 1 / (0.5 + 0.5 / 1.4) = 7 / 6
    CHECK(table["model_speedup"] == Approx(7.0 / 6));
    CHECK(table["tokens_per_second_per_rank_after"] == Approx(700.0 / 6));
    CHECK(table["tokens_per_second_before"] == 200);
    CHECK(table["tokens_per_second_after"] == Approx(1400.0 / 6));
}

TEST_CASE("of one load, perfect balance is the most to gain") {
    const Subject before = subject_of("a", 2, {1}, {{{6, 2}, {4, 4}}});
    const nlohmann::json table = worth(before, nullptr);
    CHECK(table["rows"][0]["max_tokens_after"] == 4);
    CHECK(table["moe_speedup"] == 1.25);
    CHECK(table["name_after"] == "perfect balance");
    CHECK(table["notes"].back().get<std::string>().find("at most 1.250 times as fast") !=
          std::string::npos);
}

// iterations of 8 and of 80 tokens: the fullest ranks have 8 + 40 of 4 + 40
TEST_CASE("time goes with tokens, so that large iterations count for more") {
    const Subject before = subject_of("a", 2, {1}, {{{8, 0}, {40, 40}}});
    CHECK(worth(before, nullptr)["moe_speedup"] == Approx(48.0 / 44));
}

TEST_CASE("a load is no faster than itself, and layers without tokens take no time") {
    Counts counts;
    for (int i = 0; i < 12; ++i)
        counts.push_back({6 + i % 3, 2});
    const Subject load = subject_of("a", 2, {1, 2}, {counts, Counts(12, {0, 0})});
    const MeasuredSubject measured = test::measured(load);
    const nlohmann::json table =
        test::json_of(worth_table(measured, &measured, Pairing::paired, {}));
    CHECK(table["moe_speedup"] == 1);
    CHECK(table["moe_speedup_low"] == 1);
    CHECK(table["moe_speedup_high"] == 1);
    CHECK(table["rows"][1]["speedup"].is_null());
}

TEST_CASE("a share is above 0 and at most 1") {
    const Subject load = subject_of("a", 2, {1}, {{{6, 2}}});
    for (const double share : {0.0, -0.5, 1.5})
        CHECK_STARTS_WITH(test::error_of([&] { worth(load, nullptr, {.moe_share = share}); }),
                          "moe_share");
}

}  // namespace eplb::test_speedup
