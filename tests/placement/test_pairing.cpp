#include "lib/placement/search/pairing.h"

#include <algorithm>
#include <vector>

#include "lib/placement/search/bound.h"
#include "lib/placement/search/distinct_packing.h"
#include "tests/catch.h"
#include "tests/placement/exhaustive.h"
#include "tests/placement/problems.h"

namespace eplb::test_pairing {

using eplb::aggregated_bound;
using eplb::pack_distinct;
using eplb::place_pairs;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::replicate;
using eplb::test::counts_of;
using eplb::test::exhaustive_optimum;
using eplb::test::fullest_of;
using eplb::test::is_distinct;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::skewed_loads;

TEST_CASE("pairs of tiny problems are never below the optimum, and mostly at it", "[quality]") {
    Random random(1);
    constexpr int kNumProblems = 100;
    int num_at_optimum = 0;
    for (int i = 0; i < kNumProblems; ++i) {
        const int ep_size = random.between(3, 4);
        const int num_experts = random.between(ep_size + 1, 2 * ep_size);
        const PlacementProblem problem =
            make_problem(ep_size, 2, skewed_loads(random, num_experts, 0.7));
        CAPTURE(i, problem.load, ep_size);
        const Placement placement = place_pairs(problem, 1000, 0).placement();
        REQUIRE(is_distinct(placement));
        const std::vector<int> counts = counts_of(placement, num_experts);
        REQUIRE(*std::min_element(counts.begin(), counts.end()) >= 1);
        const double optimum = exhaustive_optimum(problem);
        const double reached = fullest_of(problem, placement);
        REQUIRE(reached >= optimum * (1 - 1e-12));
        num_at_optimum += reached <= optimum * (1 + 1e-8) ? 1 : 0;
    }
    CHECK(num_at_optimum >= 80);
}

TEST_CASE("pairs of many experts are never below the bound, nor above a packing in proportion") {
    Random random(2);
    for (const int ep_size : {40, 72, 144}) {
        const PlacementProblem problem =
            make_problem(ep_size, 2, skewed_loads(random, ep_size * 3 / 2, 0.7));
        const Placement placement = place_pairs(problem, 2000, 0).placement();
        CHECK(is_distinct(placement));
        const double fullest = fullest_of(problem, placement);
        CHECK(fullest >= aggregated_bound(problem) * (1 - 1e-12));
        const Placement packed =
            pack_distinct(problem, problem.load, replicate(problem, problem.load, 0)).placement();
        CHECK(fullest <= fullest_of(problem, packed) * (1 + 1e-12));
        CHECK(placement.expert_ids == place_pairs(problem, 2000, 0).placement().expert_ids);
    }
}

}  // namespace eplb::test_pairing
