#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/report/load_summary.h"
#include "tests/test_support.h"

using eplb::average;
using eplb::LayerLoad;
using eplb::LoadSummary;
using eplb::summarize;

namespace {

LayerLoad load_of(const std::vector<std::vector<double>>& iterations) {
    LayerLoad load;
    load.num_iterations = static_cast<int>(iterations.size());
    load.num_bins = static_cast<int>(iterations.front().size());
    for (const std::vector<double>& bins : iterations)
        load.load.insert(load.load.end(), bins.begin(), bins.end());
    return load;
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
    const std::vector<LoadSummary> layers = {{10, 1, 0.5, 3, 1}, {20, 4, 1.0, 4, 0}};
    const LoadSummary mean = average(layers);
    CHECK(mean.mean == near(15));
    CHECK(mean.std == near(2.5));
    CHECK(mean.imbalance_ratio == near(0.75));
    CHECK(mean.num_iterations == 7);
    CHECK(mean.num_empty_iterations == 1);
    CHECK(average({}).mean == 0);
}
