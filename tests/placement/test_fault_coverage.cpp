#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/placement/route/fault_coverage.h"
#include "tests/test_support.h"

namespace eplb::test_fault_coverage {

using eplb::test::error_of;

namespace {

using Tokens = std::vector<std::vector<double>>;

}  // namespace

TEST_CASE("without replicas a rank takes all its experts with it") {
    const std::vector<Placement> placements = {{2, 2, {3, 1, 2, 0}}};
    const auto lost = lost_experts(placements, Tokens{{10, 20, 30, 40}}, 2);
    REQUIRE(lost.size() == 2);
    CHECK(lost[0].expert_ids == std::vector<std::vector<int>>{{1, 3}});
    CHECK(lost[0].total_tokens() == 60);
    CHECK(lost[1].expert_ids == std::vector<std::vector<int>>{{0, 2}});
    CHECK(lost[1].total_tokens() == 40);
}

TEST_CASE("replicas on another rank save an expert, on the same rank they do not") {
    // expert 0 twice on rank 0, expert 1 on both ranks, expert 2 on rank 1
    const std::vector<Placement> placements = {{2, 3, {0, 0, 1, 1, 2, 2}}};
    const auto lost = lost_experts(placements, Tokens{{1, 2, 4}}, 2);
    CHECK(lost[0].expert_ids[0] == std::vector<int>{0});
    CHECK(lost[1].expert_ids[0] == std::vector<int>{2});
    // TensorRT-LLM's test of the mask-only reconfiguration: without rank 2 of {0,1}{0,2}{1,3}{2,3}
    // no expert is lost, without rank 2 of {0}{1}{2}{3} expert 2 is
    const std::vector<Placement> covered = {{4, 2, {0, 1, 0, 2, 1, 3, 2, 3}}};
    for (const LostExperts& rank : lost_experts(covered, Tokens{{1, 1, 1, 1}}, 4))
        CHECK(rank.num_experts() == 0);
    const std::vector<Placement> single = {{4, 1, {0, 1, 2, 3}}};
    CHECK(lost_experts(single, Tokens{{1, 1, 1, 1}}, 4)[2].expert_ids[0] == std::vector<int>{2});
}

TEST_CASE("a node is lost with all its ranks") {
    // experts 0 and 1 on both ranks of node 0, 2 on both nodes, 3 on both ranks of node 1
    const std::vector<Placement> placements = {{4, 2, {0, 1, 1, 0, 2, 3, 3, 2}},
                                               {4, 2, {0, 1, 2, 3, 0, 1, 2, 3}}};
    const Tokens tokens = {{1, 2, 4, 8}, {1, 1, 1, 1}};
    for (const LostExperts& rank : lost_experts(placements, tokens, 4))
        CHECK(rank.num_experts() == 0);
    const auto nodes = lost_experts(placements, tokens, 2);
    REQUIRE(nodes.size() == 2);
    CHECK(nodes[0].expert_ids == std::vector<std::vector<int>>{{0, 1}, {}});
    CHECK(nodes[0].tokens == std::vector<double>{3, 0});
    CHECK(nodes[1].expert_ids == std::vector<std::vector<int>>{{2, 3}, {}});
    CHECK(nodes[1].num_experts() == 2);
    CHECK(nodes[1].total_tokens() == 12);
}

TEST_CASE("lost experts are those in no slot of the ranks that are left") {
    std::uint64_t state = 3;
    const auto below = [&](int bound) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state >> 33) % static_cast<std::uint64_t>(bound));
    };
    for (int round = 0; round < 200; ++round) {
        const int num_places = 1 + below(4);
        const int ep_size = num_places * (1 + below(2));
        const int num_experts = 2 + below(8);
        Placement placement{ep_size, (num_experts + ep_size - 1) / ep_size + below(3), {}};
        for (int slot = 0; slot < placement.num_slots(); ++slot)
            placement.expert_ids.push_back(slot < num_experts ? slot : below(num_experts));
        std::vector<double> tokens(num_experts);
        for (double& count : tokens)
            count = below(100);
        const auto lost = lost_experts(std::vector{placement}, Tokens{tokens}, num_places);
        REQUIRE(static_cast<int>(lost.size()) == num_places);
        for (int place = 0; place < num_places; ++place) {
            std::vector<int> left;
            for (int rank = 0; rank < ep_size; ++rank)
                if (rank * num_places / ep_size != place)
                    for (const int expert : placement.rank(rank))
                        left.push_back(expert);
            std::vector<int> expected;
            double num_tokens = 0;
            for (int expert = 0; expert < num_experts; ++expert)
                if (std::count(left.begin(), left.end(), expert) == 0) {
                    expected.push_back(expert);
                    num_tokens += tokens[expert];
                }
            CAPTURE(round, place, placement.expert_ids);
            REQUIRE(lost[place].expert_ids[0] == expected);
            REQUIRE(lost[place].tokens[0] == num_tokens);
        }
    }
}

TEST_CASE("fault coverage refuses nodes and placements that cannot be") {
    const std::vector<Placement> placements = {{4, 1, {0, 1, 2, 3}}};
    for (const int num_nodes : {0, -1, 3, 8})
        CHECK(error_of([&] {
                  lost_experts(placements, Tokens{{1, 1, 1, 1}}, num_nodes);
              }) == "faults: " + std::to_string(num_nodes) +
                        " nodes for 4 ranks: num_nodes must divide ep_size");
    CHECK_STARTS_WITH(error_of([&] {
                          lost_experts(placements, Tokens{{1, 1, 1, 1, 1}}, 4);
                      }),
                      "expert 4 stands in no slot");
}

}  // namespace eplb::test_fault_coverage
