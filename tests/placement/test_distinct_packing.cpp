#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "lib/placement/search/distinct_packing.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_distinct_packing {

using eplb::pack_distinct;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::replicate;
using eplb::test::counts_of;
using eplb::test::is_distinct;
using eplb::test::Kind;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::random_speeds;
using eplb::test::random_tiny_problem;
using eplb::test::skewed_loads;

namespace {

// Any shape that has a placement without duplicates.
PlacementProblem random_shape(Random& random) {
    while (true) {
        const int num_experts = random.between(2, 40);
        PlacementProblem problem =
            make_problem(random.between(1, 12), random.between(1, num_experts),
                         skewed_loads(random, num_experts, random.between(0, 20) / 10.0));
        problem.min_replicas = random.between(1, 3);
        if (problem.min_replicas <= problem.ep_size &&
            problem.num_slots() >= problem.min_replicas * num_experts)
            return problem;
    }
}

// Counts that fill the slots, whatever the loads.
std::vector<int> random_counts(Random& random, const PlacementProblem& problem) {
    std::vector<int> counts(problem.load.size(), 1);
    int num_free = problem.num_slots() - problem.num_experts;
    // a few experts take most
    const int num_favoured = random.between(1, problem.num_experts);
    while (num_free > 0) {
        const int among = random.between(0, 3) == 0 ? problem.num_experts : num_favoured;
        int expert = random.between(0, among - 1);
        for (; counts[expert] == problem.ep_size;)
            expert = (expert + 1) % problem.num_experts;
        ++counts[expert];
        --num_free;
    }
    return counts;
}

// The least value over all counts that fill the slots, from `first` on.
template <typename Join>
double best_by_trying(const PlacementProblem& problem,
                      std::size_t first,
                      int num_slots,
                      const Join& join) {
    if (first == problem.load.size())
        return num_slots == 0 ? 0 : std::numeric_limits<double>::infinity();
    double best = std::numeric_limits<double>::infinity();
    for (int count = problem.min_replicas; count <= std::min(problem.ep_size, num_slots); ++count)
        best = std::min(best, join(problem.load[first] / count,
                                   best_by_trying(problem, first + 1, num_slots - count, join)));
    return best;
}

}  // namespace

TEST_CASE("replica counts fill the slots and stay in range") {
    Random random(1);
    for (int i = 0; i < 2000; ++i) {
        const PlacementProblem problem = random_shape(random);
        const double exponent = random.between(0, 4) / 4.0;
        const std::vector<int> counts = replicate(problem, problem.load, exponent);
        CAPTURE(i, problem.load, problem.ep_size, problem.slots_per_rank, exponent);
        REQUIRE(counts.size() == problem.load.size());
        REQUIRE(std::accumulate(counts.begin(), counts.end(), 0) == problem.num_slots());
        REQUIRE(*std::min_element(counts.begin(), counts.end()) >= problem.min_replicas);
        REQUIRE(*std::max_element(counts.begin(), counts.end()) <= problem.ep_size);
    }
}

TEST_CASE("heavier experts get no fewer replicas, and ties favour the lower id") {
    Random random(2);
    for (int i = 0; i < 500; ++i) {
        const PlacementProblem problem = random_shape(random);
        const std::vector<int> counts = replicate(problem, problem.load, random.between(0, 1));
        for (std::size_t a = 0; a < counts.size(); ++a)
            for (std::size_t b = a + 1; b < counts.size(); ++b) {
                if (problem.load[a] >= problem.load[b])
                    REQUIRE(counts[a] >= counts[b]);
                if (problem.load[a] <= problem.load[b])
                    REQUIRE(counts[a] <= counts[b] + (problem.load[a] == problem.load[b] ? 1 : 0));
            }
    }
    const PlacementProblem equal = make_problem(3, 2, {1, 1, 1, 1});
    CHECK(replicate(equal, equal.load, 0) == std::vector<int>{2, 2, 1, 1});
}

TEST_CASE("exponent 0 makes the heaviest replica as light as can be") {
    Random random(3);
    for (int i = 0; i < 300; ++i) {
        const PlacementProblem problem =
            random_tiny_problem(random, i % 3 == 0 ? Kind::two_replicas : Kind::plain);
        const std::vector<int> counts = replicate(problem, problem.load, 0);
        double heaviest = 0;
        for (std::size_t expert = 0; expert < counts.size(); ++expert)
            heaviest = std::max(heaviest, problem.load[expert] / counts[expert]);
        const double best =
            best_by_trying(problem, 0, problem.num_slots(),
                           [](double share, double rest) { return std::max(share, rest); });
        REQUIRE(heaviest == best);
    }
}

TEST_CASE("exponent 1 makes the sum of load / count as small as can be") {
    Random random(4);
    for (int i = 0; i < 300; ++i) {
        const PlacementProblem problem =
            random_tiny_problem(random, i % 3 == 0 ? Kind::two_replicas : Kind::plain);
        const std::vector<int> counts = replicate(problem, problem.load, 1);
        double sum = 0;
        for (std::size_t expert = 0; expert < counts.size(); ++expert)
            sum += problem.load[expert] / counts[expert];
        const double best = best_by_trying(problem, 0, problem.num_slots(),
                                           [](double share, double rest) { return share + rest; });
        REQUIRE(sum == Approx(best).epsilon(1e-12));
    }
}

TEST_CASE("a packing holds the counts that it was given, each expert once per rank at most") {
    Random random(5);
    for (int i = 0; i < test::num_random_cases(6000); ++i) {
        PlacementProblem problem = random_shape(random);
        problem.min_replicas = 1;
        if (i % 3 == 0)
            problem.rank_speed = random_speeds(random, problem.ep_size);
        // counts that have nothing to do with the loads leave the last replicas little room
        const std::vector<int> counts = random_counts(random, problem);
        const Placement placement = pack_distinct(problem, problem.load, counts).placement();
        CAPTURE(i, counts, problem.load, problem.ep_size, problem.slots_per_rank);
        REQUIRE(placement.ep_size == problem.ep_size);
        REQUIRE(placement.slots_per_rank == problem.slots_per_rank);
        REQUIRE(counts_of(placement, problem.num_experts) == counts);
        REQUIRE(is_distinct(placement));
    }
}

TEST_CASE("every expert on every rank is packed without duplicates") {
    Random random(6);
    for (int i = 0; i < 200; ++i) {
        const int num_experts = random.between(1, 9);
        const PlacementProblem problem =
            make_problem(random.between(1, 6), num_experts, skewed_loads(random, num_experts, 1));
        const std::vector<int> counts(problem.load.size(), problem.ep_size);
        REQUIRE(is_distinct(pack_distinct(problem, problem.load, counts).placement()));
    }
}

TEST_CASE("two last replicas that find one rank with room are taken apart") {
    // rank 1 is full with the three light ones when both replicas of the last expert come
    const PlacementProblem problem = make_problem(2, 3, {10, 1, 1, 1, 0.2});
    const Placement placement =
        pack_distinct(problem, problem.load, std::vector<int>{1, 1, 1, 1, 2}).placement();
    CHECK(is_distinct(placement));
    CHECK(counts_of(placement, 5) == std::vector<int>{1, 1, 1, 1, 2});
}

TEST_CASE("with one slot per rank the heaviest replica goes to the fastest rank, and so on down") {
    Random random(7);
    for (int i = 0; i < 200; ++i) {
        const int ep_size = random.between(2, 10);
        PlacementProblem problem =
            make_problem(ep_size, 1, skewed_loads(random, random.between(1, ep_size), 1));
        problem.rank_speed = random_speeds(random, ep_size);
        const std::vector<int> counts = replicate(problem, problem.load, 0);
        const Placement placement = pack_distinct(problem, problem.load, counts).placement();
        const auto share = [&](std::size_t rank) {
            const auto expert = static_cast<std::size_t>(placement.expert_ids[rank]);
            return problem.load[expert] / counts[expert];
        };
        for (std::size_t fast = 0; fast < problem.rank_speed.size(); ++fast)
            for (std::size_t slow = 0; slow < problem.rank_speed.size(); ++slow)
                if (problem.rank_speed[fast] > problem.rank_speed[slow])
                    REQUIRE(share(fast) >= share(slow));
    }
}

TEST_CASE("the heaviest replicas of equal ranks go to ranks of their own, ties to lower ids") {
    const PlacementProblem problem = make_problem(3, 2, {6, 5, 4, 3, 2, 1});
    const Placement placement =
        pack_distinct(problem, problem.load, std::vector<int>(6, 1)).placement();
    CHECK(placement.expert_ids == std::vector<int>{0, 5, 1, 4, 2, 3});
    const PlacementProblem equal = make_problem(2, 2, {1, 1, 1, 1});
    CHECK(pack_distinct(equal, equal.load, std::vector<int>(4, 1)).placement().expert_ids ==
          std::vector<int>{0, 2, 1, 3});
}

}  // namespace eplb::test_distinct_packing
