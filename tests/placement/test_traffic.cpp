#include <functional>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/placement/route/traffic.h"
#include "tests/test_support.h"

namespace eplb::test_traffic {

using eplb::test::error_of;

namespace {

using Ids = std::vector<std::int32_t>;

// Calls visit with every choice of slots for the routed ids of a token, each as likely as others.
void for_all_choices(std::span<const std::int32_t> token,
                     const Placement& placement,
                     const std::function<void(const std::vector<int>&)>& visit) {
    std::vector<int> slots;
    const std::function<void(std::size_t)> choose = [&](std::size_t position) {
        if (position == token.size())
            return visit(slots);
        if (token[position] < 0)
            return choose(position + 1);
        for (int slot = 0; slot < placement.num_slots(); ++slot)
            if (placement.expert_ids[slot] == token[position]) {
                slots.push_back(slot);
                choose(position + 1);
                slots.pop_back();
            }
    };
    choose(0);
}

// Mean over all choices of the number of distinct places that they reach.
double mean_distinct(std::span<const std::int32_t> token,
                     const Placement& placement,
                     int num_places) {
    const int slots_per_place = placement.num_slots() / num_places;
    double num_reached = 0;
    double num_choices = 0;
    for_all_choices(token, placement, [&](const std::vector<int>& slots) {
        std::set<int> places;
        for (const int slot : slots)
            places.insert(slot / slots_per_place);
        num_reached += static_cast<double>(places.size());
        num_choices += 1;
    });
    return num_reached / num_choices;
}

class Random {
  public:
    int below(int bound) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state_ >> 33) % static_cast<std::uint64_t>(bound));
    }

  private:
    std::uint64_t state_ = 1;
};

// Every expert once, then any; in any order, so that a rank may hold an expert twice.
Placement random_placement(Random& random, int num_experts, int ep_size, int slots_per_rank) {
    Placement placement{ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(slot < num_experts ? slot : random.below(num_experts));
    for (int slot = placement.num_slots() - 1; slot > 0; --slot)
        std::swap(placement.expert_ids[slot], placement.expert_ids[random.below(slot + 1)]);
    return placement;
}

// [num_tokens][top_k], the ids of a token distinct, some not routed.
Ids random_tokens(Random& random, int num_experts, int top_k, int num_tokens) {
    Ids ids;
    for (int token = 0; token < num_tokens; ++token) {
        Ids experts(static_cast<std::size_t>(num_experts));
        std::iota(experts.begin(), experts.end(), 0);
        for (int position = 0; position < top_k; ++position) {
            const int chosen = position + random.below(num_experts - position);
            std::swap(experts[position], experts[chosen]);
            ids.push_back(random.below(10) == 0 ? -1 : experts[position]);
        }
    }
    return ids;
}

bool is_close(double a, double b) {
    return a == Approx(b).epsilon(1e-12).margin(1e-12);
}

}  // namespace

TEST_CASE("without replicas traffic is the plain number of distinct ranks and nodes") {
    const Placement placement{4, 2, {0, 1, 2, 3, 4, 5, 6, 7}};
    const TokenTraffic traffic =
        expected_traffic(Ids{0, 1, 2, 4, 6, 7, 3, -1, -1}, 3, placement, 2);
    CHECK(traffic.num_tokens == 3);
    CHECK(traffic.num_ranks == 2 + 2 + 1);  // {0, 0, 1}, {2, 3, 3}, {1}
    CHECK(traffic.num_nodes == 1 + 1 + 1);
    CHECK(traffic.ranks_per_token() == 5.0 / 3);
    CHECK(expected_traffic(Ids{0, 4}, 2, placement, 2).nodes_per_token() == 2);
}

TEST_CASE("two replicas of an expert on one rank are one place to go") {
    // upstream's 1 - (1 - 1/2)^2 = 0.75 would be wrong
    CHECK(expected_traffic(Ids{0}, 1, Placement{2, 2, {0, 0, 1, 2}}).ranks_per_token() == 1);
    // rank 0 with 2/3, rank 1 with 1/3; expert 1 is on rank 1
    const Placement placement{2, 2, {0, 0, 0, 1}};
    CHECK(is_close(expected_traffic(Ids{0, 1}, 2, placement).ranks_per_token(), 5.0 / 3));
}

TEST_CASE("tokens that are routed nowhere do not count") {
    const Placement placement{2, 1, {0, 1}};
    const TokenTraffic traffic = expected_traffic(Ids{-1, -1, 0, 1, -1, 1}, 2, placement);
    CHECK(traffic.num_tokens == 2);
    CHECK(traffic.ranks_per_token() == 1.5);
    CHECK(expected_traffic(Ids{-1, -1}, 2, placement).ranks_per_token() == 0);
    CHECK(expected_traffic(Ids{}, 2, placement).nodes_per_token() == 0);
}

TEST_CASE("traffic is the mean over all choices of replicas") {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const int ep_size = 2 * (1 + random.below(3));
        const int num_nodes = random.below(2) == 0 ? 2 : ep_size;
        const int num_experts = 3 + random.below(4);
        const int slots_per_rank = (num_experts + ep_size - 1) / ep_size + random.below(3);
        const Placement placement = random_placement(random, num_experts, ep_size, slots_per_rank);
        const Ids ids = random_tokens(random, num_experts, 3, 4);
        double num_ranks = 0;
        double num_reached_nodes = 0;
        for (std::size_t first = 0; first < ids.size(); first += 3) {
            const auto token = std::span(ids).subspan(first, 3);
            num_ranks += mean_distinct(token, placement, ep_size);
            num_reached_nodes += mean_distinct(token, placement, num_nodes);
        }
        CAPTURE(placement.expert_ids, ids);
        const TokenTraffic traffic = expected_traffic(ids, 3, placement, num_nodes);
        REQUIRE(is_close(traffic.num_ranks, num_ranks));
        REQUIRE(is_close(traffic.num_nodes, num_reached_nodes));
    }
}

TEST_CASE("traffic of routed ids is that of all its tokens") {
    RoutedIds routed;
    routed.top_k = routed.ep_size = routed.num_iterations = 2;
    routed.layers = {0, 1};
    routed.ids = {{0, 1}, {0, 2}, {}, {3, 2}, {2, 3}, {}, {0, 1, 0, 2}, {1, 2}};
    const Placement placement{2, 2, {0, 1, 2, 3}};
    const TokenTraffic first = expected_traffic(routed, 0, placement, 2);
    CHECK(first.num_tokens == 3);
    CHECK(first.num_ranks == 1 + 2 + 1);
    CHECK(first.num_nodes == first.num_ranks);
    const TokenTraffic second = expected_traffic(routed, 1, placement);
    CHECK(second.num_tokens == 4);
    CHECK(second.num_ranks == 1 + 1 + 2 + 2);
    CHECK(second.num_nodes == 4);
}

TEST_CASE("traffic refuses nodes, placements and ids that cannot be") {
    const Placement placement{4, 1, {0, 1, 2, 3}};
    for (const int num_nodes : {0, -1, 3, 8})
        CHECK(error_of([&] { expected_traffic(Ids{0}, 1, placement, num_nodes); }) ==
              "traffic: " + std::to_string(num_nodes) +
                  " nodes for 4 ranks: num_nodes must divide ep_size");
    CHECK(error_of([&] {
              expected_traffic(Ids{0, 4}, 1, placement);
          }) == "traffic: a token of expert 4, which stands in no slot of the placement");
    CHECK_STARTS_WITH(error_of([&] {
                          expected_traffic(Ids{0}, 1, Placement{2, 1, {0, 2}});
                      }),
                      "expert 1 stands in no slot");
}

}  // namespace eplb::test_traffic
