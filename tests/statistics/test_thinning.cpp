#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "lib/statistics/hypergeometric.h"
#include "lib/statistics/thinning.h"
#include "tests/test_support.h"

namespace eplb::test_thinning {

using test::error_of;

namespace {

using Counts = std::vector<std::int64_t>;
using Distribution = std::map<Counts, double>;

ExpertStatistics recording(const std::vector<Counts>& iterations) {
    ExpertStatistics statistics;
    statistics.num_experts = static_cast<int>(iterations.front().size());
    statistics.ep_size = statistics.num_sources = 1;
    statistics.layers = {3};
    statistics.num_iterations = static_cast<int>(iterations.size());
    for (const Counts& counts : iterations)
        statistics.counts.insert(statistics.counts.end(), counts.begin(), counts.end());
    return statistics;
}

// Every choice of `wanted` of the things, equally likely; what `kinds_of` counts of them.
template <typename CountsOf>
Distribution exact_distribution(int num_things, int wanted, const CountsOf& counts_of) {
    Distribution distribution;
    double num_choices = 0;
    for (std::uint32_t chosen = 0; chosen < 1U << num_things; ++chosen) {
        if (__builtin_popcount(chosen) != wanted)
            continue;
        distribution[counts_of(chosen)] += 1;
        num_choices += 1;
    }
    for (auto& [counts, probability] : distribution)
        probability /= num_choices;
    return distribution;
}

// Rows of each expert among the chosen ones of `counts`.
Distribution exact_distribution(const Counts& counts, int wanted) {
    Counts expert_of;
    for (std::size_t expert = 0; expert < counts.size(); ++expert)
        expert_of.insert(expert_of.end(), counts[expert], static_cast<std::int64_t>(expert));
    return exact_distribution(static_cast<int>(expert_of.size()), wanted,
                              [&](std::uint32_t chosen) {
                                  Counts taken(counts.size());
                                  for (std::size_t row = 0; row < expert_of.size(); ++row)
                                      taken[expert_of[row]] += chosen >> row & 1;
                                  return taken;
                              });
}

// Each outcome as often as it should be, within 5 standard deviations.
void check_frequencies(const std::vector<Counts>& drawn, const Distribution& exact) {
    std::map<Counts, double> frequency;
    for (const Counts& counts : drawn)
        frequency[counts] += 1;
    const auto n = static_cast<double>(drawn.size());
    for (const auto& [counts, probability] : exact) {
        CAPTURE(counts, probability);
        CHECK(std::abs(frequency[counts] - n * probability) <
              5 * std::sqrt(n * probability * (1 - probability)) + 1);
    }
    for (const auto& [counts, times] : frequency)
        CHECK(exact.contains(counts));
}

std::vector<Counts> rows_of(const ExpertStatistics& statistics, int layer = 0) {
    std::vector<Counts> rows;
    for (int i = 0; i < statistics.num_iterations; ++i) {
        const std::span<const std::int64_t> row = statistics.row(i, layer, 0);
        rows.emplace_back(row.begin(), row.end());
    }
    return rows;
}

std::int64_t sum(const Counts& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

Thinned thin(const ExpertStatistics& statistics, const ThinningRequest& request) {
    ThreadPool threads(2);
    return thin_counts(statistics, request, "stats", threads);
}

}  // namespace

TEST_CASE("counts are drawn as all choices of rows are") {
    const Counts counts = {3, 2, 0, 1, 4};
    for (const int wanted : {1, 3, 5, 9, 10}) {
        const Thinned thinned =
            thin(recording({counts, counts}),
                 {.tokens_per_iteration = wanted, .top_k = 1, .num_draws = 10000, .seed = 3});
        REQUIRE(thinned.statistics.num_iterations == 20000);
        CHECK(thinned.iterations_per_draw() == 2);
        check_frequencies(rows_of(thinned.statistics), exact_distribution(counts, wanted));
    }
}

// What time is made of: experts with rows, and the fullest of two ranks.
TEST_CASE("expectations of active experts and of the fullest rank are exact") {
    const Counts counts = {1, 1, 5, 1, 6, 2};
    constexpr int kWanted = 6;
    double active = 0;
    double fullest = 0;
    const auto add = [&](const Counts& taken, double weight) {
        active += weight * static_cast<double>(std::count_if(taken.begin(), taken.end(),
                                                             [](std::int64_t n) { return n > 0; }));
        fullest += weight * static_cast<double>(std::max(taken[0] + taken[1] + taken[2],
                                                         taken[3] + taken[4] + taken[5]));
    };
    for (const auto& [taken, probability] : exact_distribution(counts, kWanted))
        add(taken, probability);
    const double exact_active = active;
    const double exact_fullest = fullest;
    active = fullest = 0;
    constexpr int kDraws = 40000;
    const Thinned thinned =
        thin(recording({counts, counts}),
             {.tokens_per_iteration = kWanted / 2, .top_k = 2, .num_draws = kDraws / 2});
    for (const Counts& taken : rows_of(thinned.statistics))
        add(taken, 1.0 / kDraws);
    CHECK(active == Approx(exact_active).epsilon(0.005));
    CHECK(fullest == Approx(exact_fullest).epsilon(0.005));
}

TEST_CASE("a batch as large as recorded is what was recorded") {
    const std::vector<Counts> iterations = {{3, 2, 0, 1}, {1, 1, 2, 2}};
    const Thinned thinned = thin(recording(iterations), {.tokens_per_iteration = 3, .top_k = 2});
    CHECK(rows_of(thinned.statistics) == iterations);
    CHECK(thinned.num_pooled == 1);
    CHECK_FALSE(thinned.is_cut);
}

TEST_CASE("neighbours are put together for a larger batch") {
    const std::vector<Counts> iterations = {{4, 0}, {0, 4}, {0, 0}, {2, 2}, {3, 1}, {7, 0}};
    const Thinned thinned = thin(recording(iterations), {.tokens_per_iteration = 8, .top_k = 1});
    CHECK(thinned.num_pooled == 2);
    CHECK(rows_of(thinned.statistics) == std::vector<Counts>{{4, 4}, {5, 3}});
    CHECK(
        error_of([&] { thin(recording(iterations), {.tokens_per_iteration = 12, .top_k = 2}); }) ==
        "stats: holds 11 tokens in all its iterations, fewer than 12 of one iteration; give "
        "tokens_per_rank less, or record more");
}

TEST_CASE("a sum is cut into iterations, no row twice") {
    const Counts counts = {30, 7, 3, 20};
    const Thinned thinned =
        thin(recording({counts}), {.tokens_per_iteration = 6, .top_k = 2, .num_draws = 3});
    CHECK(thinned.is_cut);
    CHECK(thinned.iterations_per_draw() == 5);
    const std::vector<Counts> rows = rows_of(thinned.statistics);
    for (int draw = 0; draw < 3; ++draw) {
        Counts all(4);
        for (int i = 0; i < 5; ++i) {
            CHECK(sum(rows[draw * 5 + i]) == 12);
            for (int expert = 0; expert < 4; ++expert)
                all[expert] += rows[draw * 5 + i][expert];
        }
        CHECK(all == counts);  // 5 * 12 are all rows
    }
    CHECK(rows[0] != rows[5]);  // another draw
    // what one part has of each expert is what it would have alone
    std::vector<Counts> thirds;
    const Thinned parts =
        thin(recording({{4, 2, 3}}), {.tokens_per_iteration = 3, .top_k = 1, .num_draws = 20000});
    for (const Counts& row : rows_of(parts.statistics))
        thirds.push_back(row);
    for (int part = 0; part < 3; ++part) {
        std::vector<Counts> some;
        for (std::size_t i = part; i < thirds.size(); i += 3)
            some.push_back(thirds[i]);
        check_frequencies(some, exact_distribution({4, 2, 3}, 3));
    }
    CHECK(thin(recording({{1000000, 1}}), {.tokens_per_iteration = 1, .top_k = 1})
              .iterations_per_draw() == kMostCuts);
}

TEST_CASE("counts beyond 2^31 are drawn with the right mean and variance") {
    constexpr std::int64_t kLarge = std::int64_t{1} << 39;
    RandomSequence random(5);
    double mean = 0;
    double squares = 0;
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; ++i) {
        const auto x = static_cast<double>(draw_hypergeometric(random, kLarge, 3 * kLarge, 4000));
        mean += x / kDraws;
        squares += x * x / kDraws;
    }
    // nearly binomial, 4000 at a quarter
    CHECK(mean == Approx(1000).epsilon(0.001));
    CHECK(squares - mean * mean == Approx(750).epsilon(0.05));
    CHECK(draw_hypergeometric(random, 0, 5, 3) == 0);
    CHECK(draw_hypergeometric(random, 5, 0, 3) == 3);
    CHECK(draw_hypergeometric(random, kLarge, kLarge, 2 * kLarge) == kLarge);
}

TEST_CASE("seeds make other draws, threads do not; layers without tokens have none") {
    ExpertStatistics statistics = recording({{9, 9, 9, 9}, {9, 9, 9, 9}});
    statistics.layers = {3, 4};
    statistics.counts = {9, 9, 9, 9, 0, 0, 0, 0, 9, 9, 9, 9, 3, 0, 0, 0};
    ThreadPool one(1);
    ThreadPool three(3);
    const ThinningRequest request = {.tokens_per_iteration = 9, .top_k = 2, .seed = 1};
    const Thinned thinned = thin_counts(statistics, request, "a", one);
    CHECK(thin_counts(statistics, request, "a", three).statistics == thinned.statistics);
    ThinningRequest other = request;
    other.seed = 2;
    CHECK(thin_counts(statistics, other, "a", one).statistics != thinned.statistics);
    CHECK(rows_of(thinned.statistics, 1) == std::vector<Counts>{{0, 0, 0, 0}, {3, 0, 0, 0}});
    CHECK(thin_counts(recording({{0, 0, 7, 0}, {0, 0, 7, 0}}),
                      {.tokens_per_iteration = 5, .top_k = 1}, "a", one)
              .statistics.row(1, 0, 0)[2] == 5);  // one expert takes all
}

namespace {

// 2 source ranks, 2 layers; tokens of top-2.
RoutedIds small_routed() {
    RoutedIds routed;
    routed.top_k = 2;
    routed.ep_size = 2;
    routed.layers = {3, 9};
    routed.num_iterations = 2;
    const std::vector<std::int32_t> first = {0, 1, 0, 2, 3, 1};
    const std::vector<std::int32_t> second = {1, 2, 0, -1};
    for (int i = 0; i < 2; ++i)
        for (int layer = 0; layer < 2; ++layer) {
            routed.ids.push_back(first);
            routed.ids.push_back(second);
        }
    return routed;
}

}  // namespace

TEST_CASE("tokens are drawn as all choices of them are, the same in all layers") {
    const RoutedIds routed = small_routed();
    const std::vector<Counts> tokens = {
        {1, 1, 0, 0}, {1, 0, 1, 0}, {0, 1, 0, 1}, {0, 1, 1, 0}, {1, 0, 0, 0}};
    ThreadPool threads(2);
    const Thinned thinned = thin_tokens(
        routed, 4, {.tokens_per_iteration = 3, .top_k = 2, .num_draws = 10000}, "a", threads);
    CHECK(thinned.is_of_tokens);
    REQUIRE(thinned.statistics.num_iterations == 20000);
    CHECK(rows_of(thinned.statistics, 0) == rows_of(thinned.statistics, 1));
    check_frequencies(rows_of(thinned.statistics),
                      exact_distribution(5, 3, [&](std::uint32_t chosen) {
                          Counts counts(4);
                          for (int token = 0; token < 5; ++token)
                              for (int expert = 0; expert < 4; ++expert)
                                  counts[expert] += (chosen >> token & 1) * tokens[token][expert];
                          return counts;
                      }));
    const Thinned pooled =
        thin_tokens(routed, 4, {.tokens_per_iteration = 10, .top_k = 2}, "a", threads);
    CHECK(pooled.num_pooled == 2);
    CHECK(rows_of(pooled.statistics) == std::vector<Counts>{{6, 6, 4, 2}});
}

TEST_CASE("tokens that cannot be followed through the layers are refused") {
    RoutedIds routed = small_routed();
    CHECK(has_tokens_in_all_layers(routed));
    routed.cell(1, 1, 0) = {0, 1};
    CHECK_FALSE(has_tokens_in_all_layers(routed));
    ThreadPool threads(1);
    CHECK_STARTS_WITH(
        error_of(
            [&] { thin_tokens(routed, 4, {.tokens_per_iteration = 1, .top_k = 2}, "a", threads); }),
        "a: layers differ in how many tokens");
}

}  // namespace eplb::test_thinning
