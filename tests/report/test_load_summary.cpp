#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/placement/route/load_summary.h"
#include "tests/test_support.h"

namespace eplb::test_load_summary {

using eplb::average;
using eplb::LayerLoad;
using eplb::LoadSummary;
using eplb::percentile;
using eplb::summarize;

namespace {

LayerLoad load_of(const std::vector<std::vector<double>>& iterations) {
    std::vector<double> load;
    for (const std::vector<double>& bins : iterations)
        load.insert(load.end(), bins.begin(), bins.end());
    return {static_cast<int>(iterations.size()), static_cast<int>(iterations.front().size()), load};
}

Approx near(double value) {
    return Approx(value).epsilon(1e-12).margin(0);
}

}  // namespace

TEST_CASE("figures are taken per iteration and then averaged") {
    // mean 4, std sqrt((9 + 1 + 1 + 9) / 3), ratio 7/4 - 1; then mean 6, std sqrt((9 + 1 + 1 + 1) /
    // 3), ratio 9/6 - 1
    const LoadSummary summary = summarize(load_of({{1, 3, 5, 7}, {9, 5, 5, 5}}));
    CHECK(summary.mean == near(5));
    CHECK(summary.std == near((std::sqrt(20.0 / 3) + 2) / 2));
    CHECK(summary.imbalance_ratio == near((0.75 + 0.5) / 2));
    CHECK(summary.num_iterations == 2);
    CHECK(summary.num_empty_iterations == 0);
}

TEST_CASE("balancedness is mean / max per iteration") {
    CHECK(summarize(load_of({{1, 3}, {2, 2}})).balancedness == near((2.0 / 3 + 1) / 2));
    CHECK(summarize(load_of({{0, 0, 0, 12}})).balancedness == near(0.25));  // the worst of 4 bins
    CHECK(summarize(load_of({{5}})).balancedness == 1);
}

TEST_CASE("percentiles lie between neighbours as numpy's do") {
    // numpy.percentile([1, 2, 4, 8], [0, 10, 50, 90, 99, 100])
    const std::vector<double> sorted = {1, 2, 4, 8};
    const std::vector<std::pair<double, double>> expected = {{0, 1},    {10, 1.3},  {50, 3},
                                                             {90, 6.8}, {99, 7.88}, {100, 8}};
    for (const auto& [percent, value] : expected)
        CHECK(percentile(sorted, percent) == near(value));
    CHECK(percentile(std::vector<double>{7}, 90) == 7);
    CHECK(percentile({}, 50) == 0);
    // imbalance ratios 0, 0.5, 1: numpy.percentile([0, 0.5, 1], [50, 90, 99])
    const LoadSummary summary = summarize(load_of({{2, 2}, {0, 4}, {0, 0}, {1, 3}}));
    CHECK(summary.p50 == near(0.5));
    CHECK(summary.p90 == near(0.9));
    CHECK(summary.p99 == near(0.99));
    CHECK(summary.max == 1);
}

TEST_CASE("the ratio of a mean is not the mean of ratios: opposite iterations do not cancel") {
    const LoadSummary summary = summarize(load_of({{8, 0}, {0, 8}}));
    CHECK(summary.imbalance_ratio == near(1));
    CHECK(summary.mean == near(4));
}

TEST_CASE("all tokens on one bin give the worst ratio, even loads the best") {
    CHECK(summarize(load_of({{0, 0, 0, 12}})).imbalance_ratio == near(3));
    const LoadSummary even = summarize(load_of({{3, 3, 3, 3}}));
    CHECK(even.imbalance_ratio == 0);
    CHECK(even.std == 0);
}

TEST_CASE("a single bin has neither spread nor imbalance") {
    const LoadSummary summary = summarize(load_of({{5}, {7}}));
    CHECK(summary.mean == near(6));
    CHECK(summary.std == 0);
    CHECK(summary.imbalance_ratio == 0);
}

TEST_CASE("iterations without tokens are skipped and counted") {
    const LoadSummary summary = summarize(load_of({{0, 0}, {2, 4}, {0, 0}}));
    CHECK(summary.mean == near(3));
    CHECK(summary.num_iterations == 1);
    CHECK(summary.num_empty_iterations == 2);
}

TEST_CASE("a layer without any token has figures of zero") {
    const LoadSummary summary = summarize(load_of({{0, 0}, {0, 0}}));
    CHECK(summary.mean == 0);
    CHECK(summary.std == 0);
    CHECK(summary.imbalance_ratio == 0);
    CHECK(summary.num_iterations == 0);
    CHECK(summary.num_empty_iterations == 2);
    CHECK(summarize(LayerLoad{0, 4, {}}).num_empty_iterations == 0);
}

TEST_CASE("figures equal those of exact arithmetic") {
    const auto fixture = nlohmann::json::parse(
        eplb::test::read_text(eplb::test::test_data() / "report" / "load_summary.json"));
    REQUIRE(fixture["cases"].size() > 20);
    for (const auto& expected : fixture["cases"]) {
        const LoadSummary summary =
            summarize(load_of(expected["load"].get<std::vector<std::vector<double>>>()));
        CHECK(summary.mean == near(expected["mean"].get<double>()));
        CHECK(summary.std == near(expected["std"].get<double>()));
        // max / mean - 1 loses digits where the load is almost even, upstream's as ours
        CHECK(summary.imbalance_ratio ==
              near(expected["imbalance_ratio"].get<double>()).margin(1e-15));
        CHECK(summary.num_iterations == expected["num_iterations"].get<int>());
    }
}

TEST_CASE("the average of layers is their plain mean, and iterations add up") {
    LoadSummary one;
    one.mean = 10;
    one.std = 1;
    one.imbalance_ratio = 0.5;
    one.balancedness = 0.6;
    one.p50 = 0.4;
    one.p90 = 1;
    one.p99 = 1;
    one.max = 1;
    one.num_iterations = 3;
    one.num_empty_iterations = 1;
    LoadSummary other;
    other.mean = 20;
    other.std = 4;
    other.imbalance_ratio = 1.0;
    other.balancedness = 0.8;
    other.p50 = 0.6;
    other.p90 = 2;
    other.p99 = 3;
    other.max = 4;
    other.num_iterations = 4;
    const LoadSummary mean = average(std::vector<LoadSummary>{one, other, LoadSummary()});
    CHECK(mean.balancedness == near(0.7));
    CHECK(mean.p50 == near(0.5));
    CHECK(mean.p90 == near(1.5));
    CHECK(mean.p99 == near(2));
    CHECK(mean.max == near(2.5));
    CHECK(mean.mean == near(15));
    CHECK(mean.std == near(2.5));
    CHECK(mean.imbalance_ratio == near(0.75));
    CHECK(mean.num_iterations == 7);
    CHECK(mean.num_empty_iterations == 1);
    CHECK(average({}).mean == 0);
}

}  // namespace eplb::test_load_summary
