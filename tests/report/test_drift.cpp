#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/report/views/drift.h"
#include "tests/report/subjects.h"
#include "tests/test_support.h"

namespace eplb::test_drift {

using namespace eplb::test;

namespace {

nlohmann::json drift(const Subject& first, const Subject& second) {
    ThreadPool threads(2);
    return test::json_of(drift_table({&first, &second, nullptr, nullptr}, threads));
}

}  // namespace

TEST_CASE("distances of shares are those of scipy") {
    const nlohmann::json fixture =
        nlohmann::json::parse(test::read_text(test::test_data() / "report" / "analysis.json"));
    for (const auto& expected : fixture["drift"]) {
        const Subject first = subject_of("a", 1, {3}, {expected["first"].get<Counts>()});
        const Subject second = subject_of("b", 1, {3}, {expected["second"].get<Counts>()});
        const auto row = drift(first, second)["rows"][0];
        const auto tokens = expected["tokens"].get<std::vector<double>>();
        const auto of_halves = expected["tokens_of_halves"].get<std::vector<double>>();
        const double scale =
            std::sqrt((1 / tokens[0] + 1 / tokens[1]) / (1 / of_halves[0] + 1 / of_halves[1]));
        const double within = expected["js_within"].get<double>();
        const auto near = [](double value) { return Approx(value).epsilon(1e-9); };
        CHECK(row["cosine"] == near(expected["cosine"].get<double>()));
        CHECK(row["js"] == near(expected["js"].get<double>()));
        CHECK(row["js_within"] == near(within));
        CHECK(row["js_expected"] == near(within * scale));
    }
}

TEST_CASE("the same shares are at no distance, experts apart at the largest") {
    const std::vector<double> a = {3, 0, 5, 0};
    const std::vector<double> more = {30, 0, 50, 0};
    const std::vector<double> apart = {0, 2, 0, 9};
    CHECK(cosine_similarity(a, more) == Approx(1).epsilon(1e-15));
    CHECK(js_distance(a, more) == 0);
    CHECK(cosine_similarity(a, apart) == 0);
    CHECK(js_distance(a, apart) == 1);
    CHECK(std::isnan(js_distance(a, std::vector<double>(4))));
    CHECK(std::isnan(cosine_similarity(std::vector<double>(4), a)));
}

// 2: from an even load to all on one expert; 5: from one pair of experts to the other; 9: the same
TEST_CASE("the verdict counts layers that drifted and names the worst") {
    const Counts even(8, {50, 50, 50, 50});
    const Counts hot(8, {200, 0, 0, 0});
    const Counts low(8, {90, 110, 0, 0});
    const Counts high(8, {0, 0, 120, 80});
    const Subject first = subject_of("chat", 2, {2, 5, 9}, {even, low, even});
    const Subject second = subject_of("code", 2, {2, 5, 9}, {hot, high, even});
    const nlohmann::json table = drift(first, second);
    CHECK(table["num_drifted"] == 2);
    CHECK(table["rows"][0]["drifted"] == "yes");
    CHECK(table["rows"][1]["js"] == 1);
    CHECK(table["rows"][2]["drifted"] == "");
    CHECK(
        table["notes"].back().get<std::string>() ==
        "2 of 3 layers have drifted, layer 5 the most (js 1.000, expected 0.000): a config that "
        "was fitted to the first has grown stale there; fit one to both with eplb-gen chat code.");
    const nlohmann::json same = drift(first, first);
    CHECK(same["num_drifted"] == 0);
    CHECK(same["average"]["js"] == 0);
}

// shares move from iteration to iteration as much as between the recordings
TEST_CASE("what chance explains is no drift") {
    Counts restless;
    for (int i = 0; i < 8; ++i)
        restless.push_back(i / 2 % 2 == 0 ? std::vector<std::int64_t>{60, 40}
                                          : std::vector<std::int64_t>{40, 60});
    const Subject first = subject_of("a", 2, {2}, {restless});
    const Subject second = subject_of("b", 2, {2}, {Counts(8, {60, 40})});
    const auto row = drift(first, second)["rows"][0];
    CHECK(row["js"] > kLeastDrift);
    CHECK(row["js_within"] > row["js"]);
    CHECK(row["drifted"] == "");
}

// experts 0 and 1 apart: even under the first, all on rank 0 under the second
TEST_CASE("under a config drift shows in its imbalance") {
    const auto first = test::statistics_of({2}, {Counts(2, {10, 10, 0, 0})});
    const auto second = test::statistics_of({2}, {Counts(2, {10, 0, 10, 0})});
    const std::vector<Placement> placements = {{2, 2, {0, 2, 1, 3}}};
    const Subject first_recorded = recorded_subject(first, "a", 2);
    const Subject second_recorded = recorded_subject(second, "b", 2);
    const Subject first_projected = projected_subject(first, "a under c", placements);
    const Subject second_projected = projected_subject(second, "b under c", placements);
    const MeasuredSubject first_under = test::measured(first_projected);
    const MeasuredSubject second_under = test::measured(second_projected);
    ThreadPool threads(1);
    const nlohmann::json table = test::json_of(
        drift_table({&first_recorded, &second_recorded, &first_under, &second_under}, threads));
    CHECK(table["rows"][0]["imbalance_ratio_1"] == 0);
    CHECK(table["rows"][0]["imbalance_ratio_2"] == 1);
    CHECK(table["average"]["imbalance_ratio_2"] == 1);
}

TEST_CASE("drift needs the same, known experts") {
    ExpertStatistics slots = test::statistics_of({2}, {{{1, 2}}});
    slots.ids = IdKind::slot;
    const Subject unknown = recorded_subject(slots, "run", 1);
    const Subject two = subject_of("two", 1, {2}, {{{1, 2}}});
    const Subject three = subject_of("three", 1, {2}, {{{1, 2, 3}}});
    CHECK(test::error_of([&] { drift(two, unknown); }) ==
          "run: holds slot ids, and drift is of experts; give the yaml that was in force with "
          "load_balancer");
    CHECK(test::error_of([&] { drift(two, three); }) ==
          "three: has 3 experts, but two has 2; give recordings of the same model");
}

TEST_CASE("where chance is not known there is no drift, and no verdict of none") {
    ThreadPool threads(1);
    const Subject one = subject_of({{{10, 0}}, {{0, 0}}}, 2, "one");
    const Subject other = subject_of({{{0, 10}}, {{0, 0}}}, 2, "other");
    const Table table = drift_table({&one, &other, nullptr, nullptr}, threads);
    CHECK(json_of(table)["num_drifted"] == 0);
    CHECK(json_of(table)["rows"][0]["drifted"] == "?");
    CHECK(json_of(table)["rows"][1]["drifted"] == "?");
    CHECK_STARTS_WITH(test::last_verdict(table), "Too little data");
}

}  // namespace eplb::test_drift
