#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "lib/placement/search/bound.h"
#include "lib/placement/search/noise_floor.h"
#include "tests/catch.h"
#include "tests/placement/exhaustive.h"
#include "tests/placement/problems.h"

namespace eplb::test_bound {

using eplb::aggregated_bound;
using eplb::expected_maximum_of_normals;
using eplb::fewest_slots;
using eplb::noise_floor;
using eplb::PlacementProblem;
using eplb::sampling_variance;
using eplb::test::exhaustive_optimum;
using eplb::test::Kind;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::random_tiny_problem;
using eplb::test::sum_of;

namespace {

double mean_of(const PlacementProblem& problem) {
    return sum_of(problem.load) / problem.ep_size;
}

struct Tally {
    int num_tight = 0;
    int num_above_mean = 0;  // tight where the mean is not
};

Tally compare_with_optimum(Kind kind, int num_problems) {
    Random random(1234 + static_cast<unsigned>(kind));
    Tally tally;
    for (int i = 0; i < num_problems; ++i) {
        const PlacementProblem problem = random_tiny_problem(random, kind);
        const double optimum = exhaustive_optimum(problem);
        const double bound = aggregated_bound(problem);
        CAPTURE(i, problem.load, problem.rank_speed, problem.ep_size, problem.slots_per_rank);
        CHECK(bound <= optimum * (1 + 1e-12));
        CHECK(bound >= mean_of(problem) * (1 - 1e-12));
        const bool tight = bound >= optimum * (1 - 1e-8);
        tally.num_tight += tight ? 1 : 0;
        tally.num_above_mean += tight && mean_of(problem) < optimum * (1 - 1e-8) ? 1 : 0;
    }
    return tally;
}

// About the popularity of DeepSeek-R1's experts: a power law of ranks, no expert in more than 0.9
// of the tokens, with an exponent that gives contiguous blocks on 32 ranks of 1024 ids the standard
// deviation 521.
std::vector<double> long_tailed_shares(double exponent, const std::vector<int>& order) {
    std::vector<double> shares;
    for (const int place : order)
        shares.push_back(std::pow(place + 3.0, -exponent));
    for (int i = 0; i < 100; ++i) {
        const double sum = sum_of(shares);
        for (double& share : shares)
            share = std::min(share / sum, 0.9 / 8);
    }
    return shares;
}

double deviation_on_32_ranks(const std::vector<double>& shares) {
    double sum = 31.0 * 31 * 31;
    for (int rank = 0; rank < 32; ++rank) {
        const auto first = shares.begin() + 8 * rank;
        const double load = 1024 * 32 * std::accumulate(first, first + 8, 0.0) - 1024;
        sum += load * load;
    }
    return std::sqrt(sum / 31);
}

std::vector<double> published_popularity(Random& random) {
    std::vector<int> order(256);
    std::iota(order.begin(), order.end(), 0);
    random.shuffle(order);
    double low = 0.01;
    double high = 3;
    for (int i = 0; i < 50; ++i) {
        const double middle = (low + high) / 2;
        (deviation_on_32_ranks(long_tailed_shares(middle, order)) < 521 ? low : high) = middle;
    }
    return long_tailed_shares(low, order);
}

double least_variance_by_trying(const PlacementProblem& problem,
                                const std::vector<double>& variance,
                                std::size_t expert,
                                int num_slots) {
    if (expert == variance.size())
        return 0;
    const int others = static_cast<int>(variance.size() - expert) - 1;
    double best = std::numeric_limits<double>::infinity();
    for (int count = problem.min_replicas;
         count <= problem.ep_size && count + others * problem.min_replicas <= num_slots; ++count)
        best = std::min(
            best, variance[expert] / count +
                      least_variance_by_trying(problem, variance, expert + 1, num_slots - count));
    return best;
}

}  // namespace

TEST_CASE("the bound is never above the optimum, and often is the optimum") {
    const Tally plain = compare_with_optimum(Kind::plain, 200);
    CHECK(plain.num_tight >= 100);
    CHECK(plain.num_above_mean >= 90);
    const Tally two = compare_with_optimum(Kind::two_replicas, 100);
    CHECK(two.num_tight >= 35);
    CHECK(two.num_above_mean >= 30);
    CHECK(compare_with_optimum(Kind::ties, 100).num_tight >= 70);
    CHECK(compare_with_optimum(Kind::zeros, 100).num_tight >= 50);
}

TEST_CASE("the bound holds where ranks differ in speed") {
    CHECK(compare_with_optimum(Kind::speeds, 150).num_above_mean >= 35);
}

TEST_CASE("with one slot per rank the bound is the best replication") {
    // 9 slots: 6, 2 and 1 replicas
    const PlacementProblem problem = make_problem(9, 1, {30, 10, 5});
    CHECK(aggregated_bound(problem) == Approx(5).epsilon(1e-8));
}

TEST_CASE("a replica's partners raise the bound") {
    // every pair holds one of the heavy experts, and 3 beside 12 is the best for it
    const PlacementProblem problem = make_problem(2, 2, {12, 10, 4, 3});
    CHECK(exhaustive_optimum(problem) == 15);
    CHECK(aggregated_bound(problem) == Approx(15).epsilon(1e-8));
    CHECK(aggregated_bound(problem) <= 15);
}

TEST_CASE("a rank holds one heavy replica at most") {
    // three equal experts on two ranks: two of them meet
    CHECK(aggregated_bound(make_problem(2, 2, {9, 9, 9, 1})) == Approx(18).epsilon(1e-8));
}

// vllm-ascend's example for FlashLB; the optimum of all 6435 replica vectors is 590 / 3
TEST_CASE("the bound of a published example is not above its optimum") {
    const PlacementProblem problem = make_problem(8, 2, {600, 560, 120, 120, 20, 10, 10, 10});
    CHECK(aggregated_bound(problem) >= 181.25);
    CHECK(aggregated_bound(problem) <= 590.0 / 3);
}

TEST_CASE("the bound scales with the loads and does not depend on their order") {
    Random random(5);
    for (const auto& [ep_size, slots_per_rank] : {std::pair(36, 8), {96, 3}, {144, 2}, {288, 1}}) {
        PlacementProblem problem =
            make_problem(ep_size, slots_per_rank, published_popularity(random));
        const double bound = aggregated_bound(problem);
        random.shuffle(problem.load);
        CHECK(aggregated_bound(problem) == Approx(bound).epsilon(3e-9));
        for (double& load : problem.load)
            load *= 7;
        CHECK(aggregated_bound(problem) == Approx(7 * bound).epsilon(3e-9));
    }
}

TEST_CASE("alike ranks may be given as speeds") {
    Random random(6);
    PlacementProblem problem = make_problem(144, 2, published_popularity(random));
    const double bound = aggregated_bound(problem);
    problem.rank_speed.assign(144, 1.0);
    CHECK(aggregated_bound(problem) == bound);
}

TEST_CASE("extreme problems have the bound that one expects") {
    CHECK(aggregated_bound(make_problem(1, 1, {3})) == 3);
    CHECK(aggregated_bound(make_problem(4, 1, {3})) == 0.75);
    CHECK(aggregated_bound(make_problem(1, 3, {3, 2, 1})) == 6);
    CHECK(aggregated_bound(make_problem(2, 2, {0, 0, 0, 0})) == 0);
    CHECK(aggregated_bound(make_problem(2, 3, {5, 1, 1})) == 3.5);  // every expert everywhere
    CHECK(aggregated_bound(make_problem(2, 4, {5, 1, 1})) == 3.5);  // duplicates forced
    // one expert carries all, and the 6 others leave it a slot of each rank
    CHECK(aggregated_bound(make_problem(4, 3, {8, 0, 0, 0, 0, 0, 0})) == 2);
    // here they leave it one slot
    CHECK(aggregated_bound(make_problem(2, 2, {8, 0, 0, 0})) == Approx(8).epsilon(1e-8));
    PlacementProblem impossible = make_problem(2, 2, {8, 1, 1});
    impossible.min_replicas = 2;
    CHECK(aggregated_bound(impossible) == 5);
}

// the tabulated values of order statistics; sqrt(1 / pi) for two
TEST_CASE("expected maxima of normals are the published ones") {
    CHECK(expected_maximum_of_normals(1) == 0);
    CHECK(expected_maximum_of_normals(2) == Approx(std::sqrt(1 / std::acos(-1.0))).epsilon(1e-12));
    for (const auto& [n, published] : {std::pair(8, 1.424),
                                       {16, 1.766},
                                       {32, 2.070},
                                       {36, 2.118},
                                       {64, 2.344},
                                       {72, 2.388},
                                       {144, 2.635}})
        CHECK(std::abs(expected_maximum_of_normals(n) - published) < 0.0006);
}

TEST_CASE("the noise floor takes the best replica counts") {
    Random random(7);
    for (int i = 0; i < 60; ++i) {
        const PlacementProblem problem =
            random_tiny_problem(random, i % 3 == 0 ? Kind::two_replicas : Kind::plain);
        std::vector<double> variance;
        for (int expert = 0; expert < problem.num_experts; ++expert)
            variance.push_back(random.between(0, 50));
        const double least = least_variance_by_trying(problem, variance, 0, problem.num_slots());
        CHECK(noise_floor(problem, variance) ==
              Approx(expected_maximum_of_normals(problem.ep_size) *
                     std::sqrt(least / problem.ep_size)));
    }
}

// floors of 1024 ids per rank, estimated for DeepSeek-R1-like popularity (mean of its layers)
TEST_CASE("sampling floors are near the published ones", "[quality]") {
    struct Floor {
        int ep_size;
        int slots_per_rank;
        double published;
    };
    for (const Floor& floor : {Floor{36, 8, 0.056}, Floor{32, 9, 0.055}, Floor{64, 5, 0.058},
                               Floor{72, 4, 0.063}, Floor{144, 2, 0.070}}) {
        Random random(8);
        double sum = 0;
        constexpr int kNumLayers = 10;
        for (int layer = 0; layer < kNumLayers; ++layer) {
            PlacementProblem problem =
                make_problem(floor.ep_size, floor.slots_per_rank, published_popularity(random));
            for (double& load : problem.load)
                load *= floor.ep_size;
            sum += noise_floor(problem, sampling_variance(problem.load, floor.ep_size, 8, 1024));
        }
        CAPTURE(floor.ep_size);
        CHECK(sum / kNumLayers == Approx(floor.published).epsilon(0.05));
    }
}

TEST_CASE("sampling variance is that of a binomial count of tokens") {
    const std::vector<double> load = {1, 0.75, 0.25};
    CHECK(sampling_variance(load, 2, 2, 0) == std::vector<double>{0, 0, 0});
    const std::vector<double> variance = sampling_variance(load, 2, 2, 10);
    // n tokens of 2 ids fill 2 ranks with 10 each: n = 10; an expert in a quarter of the tokens has
    // a count of variance 10 / 4 * 3 / 4, and 10 of its ids are a load of 1
    CHECK(variance[2] == Approx(10 * 0.25 * 0.75 / 100));
    CHECK(variance[1] == Approx(10 * 0.75 * 0.25 / 100));
    // one in every token would seem to have none, and keeps 0.03
    CHECK(variance[0] == Approx(0.03 / 10));
}

TEST_CASE("the fewest slots are the first that lift the forced imbalance") {
    Random random(9);
    for (int i = 0; i < 40; ++i) {
        PlacementProblem problem =
            random_tiny_problem(random, i % 4 == 0 ? Kind::two_replicas : Kind::plain);
        const double imbalance = random.between(0, 30) / 100.0;
        const int num_slots = fewest_slots(problem, imbalance);
        int expected = 0;
        do {
            expected += problem.ep_size;
            problem.slots_per_rank = expected / problem.ep_size;
        } while (expected < problem.num_experts * problem.min_replicas ||
                 aggregated_bound(problem) > mean_of(problem) * (1 + imbalance));
        CHECK(num_slots == expected);
    }
    // every rank must hold the one that carries all, and 2 slots each leave no room for that
    CHECK(fewest_slots(make_problem(4, 1, {8, 0, 0, 0, 0, 0, 0}), 0) == 12);
    CHECK(fewest_slots(make_problem(4, 2, {0, 0, 0, 0, 0}), 0) == 8);
    CHECK(fewest_slots(make_problem(4, 2, {5, 4, 3, 2, 1}), -1) == 20);
}

}  // namespace eplb::test_bound
