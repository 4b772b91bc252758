#include <algorithm>
#include <bit>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "lib/placement/route/optimal_split.h"
#include "tests/test_support.h"

namespace eplb::test_optimal_split {

using eplb::test::error_of;

namespace {

// The greatest, over all sets of ranks, of the load that stands nowhere else, over their number.
double greatest_over_sets(const std::vector<double>& load, const Placement& placement) {
    std::vector<std::uint32_t> ranks_of(load.size());
    for (int rank = 0; rank < placement.ep_size; ++rank)
        for (const int expert : placement.rank(rank))
            ranks_of[expert] |= 1U << rank;
    double greatest = 0;
    for (std::uint32_t set = 1; set < 1U << placement.ep_size; ++set) {
        double confined = 0;
        for (std::size_t expert = 0; expert < load.size(); ++expert)
            if ((ranks_of[expert] & ~set) == 0)
                confined += load[expert];
        greatest = std::max(greatest, confined / std::popcount(set));
    }
    return greatest;
}

Placement random_placement(std::mt19937& random, int num_experts, int ep_size, int slots_per_rank) {
    Placement placement{ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(
            slot < num_experts ? slot
                               : static_cast<int>(random() % static_cast<unsigned>(num_experts)));
    std::shuffle(placement.expert_ids.begin(), placement.expert_ids.end(), random);
    return placement;
}

LayerLoad one_iteration(std::vector<double> load) {
    const int num_bins = static_cast<int>(load.size());
    return {1, num_bins, std::move(load)};
}

}  // namespace

TEST_CASE("the optimal split of cases that a hand can do") {
    // 0 and 1 on both ranks
    CHECK(optimal_max_load(one_iteration({4, 6}), {2, 2, {0, 1, 1, 0}}) == std::vector<double>{5});
    // rank 0 cannot pass on expert 0
    CHECK(optimal_max_load(one_iteration({9, 1, 2}), {2, 2, {0, 1, 2, 1}}) ==
          std::vector<double>{9});
    // experts 0 and 1 share ranks 0 and 1, and leave nothing to rank 2
    CHECK(optimal_max_load(one_iteration({10, 5, 3, 0, 0}), {3, 2, {0, 1, 0, 3, 2, 4}}) ==
          std::vector<double>{7.5});
    // an expert twice on one rank cannot leave it
    CHECK(optimal_max_load(one_iteration({8, 2}), {2, 2, {0, 0, 1, 1}}) == std::vector<double>{8});
    // three iterations, one without tokens
    CHECK(optimal_max_load({3, 2, {2, 0, 0, 0, 0, 9}}, {2, 1, {0, 1}}) ==
          std::vector<double>{2, 0, 9});
}

TEST_CASE("tokens travel over several experts to where there is room") {
    // rank i holds experts i and i + 1: a chain that must pass the first expert's load along
    for (int ep_size = 2; ep_size < 12; ++ep_size) {
        Placement chain{ep_size, 2, {}};
        std::vector<double> load(static_cast<std::size_t>(ep_size) + 1, 60);
        for (int rank = 0; rank < ep_size; ++rank) {
            chain.expert_ids.push_back(rank);
            chain.expert_ids.push_back(rank + 1);
        }
        load[0] = 0;
        load[1] = 120;
        const double total = std::accumulate(load.begin(), load.end(), 0.0);
        CHECK(optimal_max_load(one_iteration(load), chain) ==
              std::vector<double>{std::max(total / ep_size, greatest_over_sets(load, chain))});
    }
}

TEST_CASE("the optimal split is the greatest confined load over all sets of ranks") {
    std::mt19937 random(11);
    int num_above_both_bounds = 0;
    for (int round = 0; round < 1500; ++round) {
        const int ep_size = 1 + static_cast<int>(random() % 8);
        const int slots_per_rank = 1 + static_cast<int>(random() % 4);
        const int num_slots = ep_size * slots_per_rank;
        const int num_experts = 1 + static_cast<int>(random() % static_cast<unsigned>(num_slots));
        const Placement placement = random_placement(random, num_experts, ep_size, slots_per_rank);
        std::vector<double> tokens;
        const unsigned scale = round % 3 == 0 ? 4 : round % 3 == 1 ? 1000 : 1U << 31;
        for (int i = 0; i < 3 * num_experts; ++i)
            tokens.push_back(random() % 3 == 0 ? 0 : static_cast<double>(random() % scale));
        const LayerLoad load(3, num_experts, std::move(tokens));
        const std::vector<double> optimum = optimal_max_load(load, placement);
        REQUIRE(optimum.size() == 3);
        for (int i = 0; i < 3; ++i) {
            const auto part = load.iteration(i);
            const std::vector<double> experts(part.begin(), part.end());
            const double expected = greatest_over_sets(experts, placement);
            CHECK(optimum[i] == expected);
            // neither the mean nor the greatest rank alone
            double lower = std::accumulate(experts.begin(), experts.end(), 0.0) / ep_size;
            for (int rank = 0; rank < ep_size; ++rank) {
                double alone = 0;
                const std::set<int> held(placement.rank(rank).begin(), placement.rank(rank).end());
                for (const int expert : held) {
                    bool elsewhere = false;
                    for (int slot = 0; slot < num_slots; ++slot)
                        elsewhere = elsewhere || (slot / slots_per_rank != rank &&
                                                  placement.expert_ids[slot] == expert);
                    alone += elsewhere ? 0 : experts[expert];
                }
                lower = std::max(lower, alone);
            }
            num_above_both_bounds += expected > lower * (1 + 1e-12);
        }
    }
    CHECK(num_above_both_bounds > 100);  // the flow is needed
}

TEST_CASE("the optimal split is that of a linear program") {
    const auto cases = nlohmann::json::parse(
        eplb::test::read_text(eplb::test::test_data() / "placement" / "optimal_split.json"));
    REQUIRE(cases.size() >= 20);
    for (const auto& example : cases) {
        const Placement placement{example["ep_size"], example["slots_per_rank"],
                                  example["expert_ids"]};
        const std::vector<double> optimum =
            optimal_max_load(one_iteration(example["load"].get<std::vector<double>>()), placement);
        CHECK(optimum[0] == Approx(example["max_load"].get<double>()).epsilon(1e-9));
    }
}

TEST_CASE("an expert without a slot has no split") {
    CHECK(error_of([] {
              optimal_max_load(one_iteration({1, 2, 3}), {2, 1, {0, 2}});
          }) == "expert 1 stands in no slot of the assignment: every expert needs one");
}

}  // namespace eplb::test_optimal_split
