#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/replayed_traffic.h"
#include "lib/statistics/expert_statistics.h"
#include "tests/test_support.h"

namespace eplb::test_replayed_traffic {

using eplb::test::error_of;

namespace {

using Ids = std::vector<std::int32_t>;

class Random {
  public:
    int below(int bound) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<int>((state_ >> 33) % static_cast<std::uint64_t>(bound));
    }

  private:
    std::uint64_t state_ = 7;
};

// One iteration and layer, a cell per source rank.
RoutedIds routed_of(const std::vector<Ids>& sources, int top_k) {
    RoutedIds routed;
    routed.top_k = top_k;
    routed.ep_size = static_cast<int>(sources.size());
    routed.num_iterations = 1;
    routed.layers = {4};
    routed.ids = sources;
    return routed;
}

// Of one layer.
ReplayedTraffic replayed_traffic(const RoutedIds& routed,
                                 int layer,
                                 const Placement& placement,
                                 int num_nodes = 1) {
    TrafficReplay replay(placement, routed.top_k, routed.ep_size, routed.num_iterations, num_nodes);
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int source = 0; source < routed.ep_size; ++source)
            replay.add(iteration, source, routed.cell(iteration, layer, source));
    return replay.traffic();
}

// Every expert once, then any, in any order: a rank may hold an expert twice.
Placement random_placement(Random& random, int num_experts, int ep_size, int slots_per_rank) {
    Placement placement{ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(slot < num_experts ? slot : random.below(num_experts));
    for (int slot = placement.num_slots() - 1; slot > 0; --slot)
        std::swap(placement.expert_ids[slot], placement.expert_ids[random.below(slot + 1)]);
    return placement;
}

// [num_tokens][top_k], the ids of a token distinct, a tenth not routed.
Ids random_tokens(Random& random, int num_experts, int top_k, int num_tokens) {
    Ids ids;
    for (int token = 0; token < num_tokens; ++token) {
        std::set<int> chosen;
        while (static_cast<int>(chosen.size()) < top_k) {
            const int expert = random.below(num_experts);
            if (chosen.insert(expert).second)
                ids.push_back(random.below(10) == 0 ? -1 : expert);
        }
    }
    return ids;
}

// The figures by their definitions, token by token.
struct Naive {
    std::int64_t num_tokens = 0;
    std::int64_t num_ids = 0;
    std::int64_t num_sends = 0;
    std::int64_t num_remote_sends = 0;
    std::int64_t num_node_sends = 0;
    std::int64_t num_pairs = 0;
    std::int64_t num_pairs_within_rank = 0;
    std::map<std::pair<int, int>, std::int64_t> sends;  // by source and destination

    void add(const Ids& ids, int top_k, int source, const Placement& placement, int num_nodes) {
        std::map<std::pair<std::size_t, int>, int> num_seen;  // by block and expert
        for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(top_k)) {
            std::vector<int> ranks;
            for (std::size_t i = first; i < first + static_cast<std::size_t>(top_k); ++i)
                if (ids[i] >= 0)
                    ranks.push_back(rank_of(ids[i], num_seen[{i / 1024, ids[i]}]++, i / 1024,
                                            source, placement));
            const std::set<int> distinct(ranks.begin(), ranks.end());
            std::set<int> nodes;
            for (const int rank : distinct) {
                nodes.insert(rank * num_nodes / placement.ep_size);
                ++sends[{source, rank}];
                num_remote_sends += rank == source ? 0 : 1;
            }
            num_tokens += ranks.empty() ? 0 : 1;
            num_ids += static_cast<std::int64_t>(ranks.size());
            num_sends += static_cast<std::int64_t>(distinct.size());
            num_node_sends += static_cast<std::int64_t>(nodes.size());
            for (std::size_t i = 0; i < ranks.size(); ++i)
                for (std::size_t j = 0; j < i; ++j) {
                    ++num_pairs;
                    num_pairs_within_rank += ranks[i] == ranks[j] ? 1 : 0;
                }
        }
    }

    static int rank_of(
        int expert, int num_before, std::size_t block, int source, const Placement& placement) {
        std::vector<int> slots;
        for (int slot = 0; slot < placement.num_slots(); ++slot)
            if (placement.expert_ids[slot] == expert)
                slots.push_back(slot);
        const std::size_t turn =
            static_cast<std::size_t>(num_before) + block + static_cast<std::size_t>(source);
        return slots[turn % slots.size()] / placement.slots_per_rank;
    }
};

}  // namespace

TEST_CASE("replayed traffic of four experts on two ranks, by hand") {
    // rank 0 holds 0 and 1, rank 1 holds 2 and 3
    const Placement placement{2, 2, {0, 1, 2, 3}};
    const ReplayedTraffic traffic =
        replayed_traffic(routed_of({{0, 1, 0, 2, 3, 2}, {1, 3, 0, -1, -1, -1}}, 2), 0, placement);
    CHECK(traffic.num_tokens == std::vector<std::int64_t>{3 + 2});
    CHECK(traffic.sends == std::vector<std::int64_t>{2, 2, 2, 1});
    CHECK(traffic.ranks_per_token() == 7.0 / 5);
    CHECK(traffic.remote_ranks_per_token() == (2.0 + 2) / 5);
    CHECK(traffic.nodes_per_token() == 1);
    CHECK(traffic.saved_share() == 2.0 / 9);        // nine ids in seven sends
    CHECK(traffic.within_rank_share() == 2.0 / 4);  // 0 1 and 3 2, not 0 2 and 1 3
}

TEST_CASE("replicas take turns, from the source rank on") {
    // expert 0 in slots 0 and 2, so on both ranks
    const Placement placement{2, 2, {0, 1, 0, 2}};
    const ReplayedTraffic traffic =
        replayed_traffic(routed_of({{0, 0, 0}, {0, 0, 0, 0, 0}}, 1), 0, placement);
    CHECK(traffic.sends == std::vector<std::int64_t>{2, 1, 2, 3});
    CHECK(traffic.ranks_per_token() == 1);
}

TEST_CASE("two replicas on one rank are one rank to go to, where upstream counts less") {
    // upstream: 1 - (1 - 1/2)^2 = 0.75
    const Placement placement{2, 2, {0, 0, 1, 2}};
    CHECK(replayed_traffic(routed_of({{0, 0, 0, 0}}, 1), 0, placement).ranks_per_token() == 1);
    // tokens of 0 and 1 reach both ranks, always
    CHECK(replayed_traffic(routed_of({{0, 1, 0, 1}}, 2), 0, placement).ranks_per_token() == 2);
    CHECK(replayed_traffic(routed_of({{0, 1, 0, 1}}, 2), 0, placement).within_rank_share() == 0);
}

TEST_CASE("replayed traffic is what naive loops count") {
    Random random;
    for (int round = 0; round < 200; ++round) {
        const int ep_size = 2 * (1 + random.below(4));
        const int num_nodes = random.below(2) == 0 ? 2 : ep_size;
        const int num_experts = 4 + random.below(12);
        const int top_k = 1 + random.below(4);
        const int num_sources = random.below(2) == 0 ? ep_size : 1 + random.below(5);
        const int slots_per_rank = (num_experts + ep_size - 1) / ep_size + random.below(3);
        const Placement placement = random_placement(random, num_experts, ep_size, slots_per_rank);
        std::vector<Ids> sources;
        Naive naive;
        for (int source = 0; source < num_sources; ++source) {
            // up to three blocks of 1024 ids
            const int num_tokens = round % 10 == 0 ? random.below(800) : random.below(20);
            sources.push_back(random_tokens(random, num_experts, top_k, num_tokens));
            naive.add(sources.back(), top_k, source, placement, num_nodes);
        }
        CAPTURE(round, placement.expert_ids);
        const ReplayedTraffic traffic =
            replayed_traffic(routed_of(sources, top_k), 0, placement, num_nodes);
        REQUIRE(traffic.total_tokens() == naive.num_tokens);
        REQUIRE(traffic.num_ids == naive.num_ids);
        REQUIRE(traffic.total_sends() == naive.num_sends);
        REQUIRE(traffic.num_node_sends == naive.num_node_sends);
        REQUIRE(traffic.num_pairs == naive.num_pairs);
        REQUIRE(traffic.num_pairs_within_rank == naive.num_pairs_within_rank);
        REQUIRE(traffic.knows_own_rank() == (num_sources == ep_size));
        if (traffic.knows_own_rank())
            REQUIRE(traffic.total_sends() - traffic.sends_to_own_rank() == naive.num_remote_sends);
        for (int source = 0; source < num_sources; ++source)
            for (int rank = 0; rank < ep_size; ++rank)
                REQUIRE(traffic.sends[source * ep_size + rank] == naive.sends[{source, rank}]);
        if (naive.num_tokens == 0)
            continue;
        REQUIRE(traffic.ranks_per_token() >= 1);
        REQUIRE(traffic.ranks_per_token() <= std::min(top_k, ep_size));
        REQUIRE(traffic.saved_share() >= 0);
        REQUIRE(traffic.saved_share() < 1);
    }
}

TEST_CASE("on one rank every token goes to it, and all pairs share it") {
    const ReplayedTraffic traffic =
        replayed_traffic(routed_of({{0, 1, 2, 1}}, 2), 0, Placement{1, 4, {0, 1, 2, 1}});
    CHECK(traffic.ranks_per_token() == 1);
    CHECK(traffic.remote_ranks_per_token() == 0);
    CHECK(traffic.within_rank_share() == 1);
    CHECK(traffic.saved_share() == 0.5);
}

TEST_CASE("replayed traffic keeps layers and iterations apart") {
    RoutedIds routed;
    routed.top_k = routed.ep_size = routed.num_iterations = 2;
    routed.layers = {0, 1};
    routed.ids = {{0, 1}, {0, 2}, {}, {3, 2}, {2, 3}, {}, {0, 1, 0, 2}, {1, 2}};
    const Placement placement{2, 2, {0, 1, 2, 3}};
    const ReplayedTraffic first = replayed_traffic(routed, 0, placement);
    CHECK(first.num_tokens == std::vector<std::int64_t>{2, 1});
    CHECK(first.sends == std::vector<std::int64_t>{1, 1, 1, 1});
    const ReplayedTraffic second = replayed_traffic(routed, 1, placement);
    CHECK(second.num_tokens == std::vector<std::int64_t>{1, 3});
    CHECK(second.sends == std::vector<std::int64_t>{2, 1, 1, 2});
}

TEST_CASE("cells may be added by several threads, in any order") {
    Random random;
    const Placement placement{4, 4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 2, 2}};
    constexpr int kNumSources = 40;
    std::vector<Ids> sources;
    for (int source = 0; source < kNumSources; ++source)
        sources.push_back(random_tokens(random, 10, 3, 500));
    const ReplayedTraffic expected = replayed_traffic(routed_of(sources, 3), 0, placement, 2);
    TrafficReplay replay(placement, 3, kNumSources, 1, 2);
    ThreadPool threads(4);
    threads.for_each(kNumSources, [&](std::int64_t i) {
        const auto source = kNumSources - 1 - static_cast<int>(i);
        replay.add(0, source, sources[source]);
    });
    CHECK(replay.traffic().num_tokens == expected.num_tokens);
    CHECK(replay.traffic().sends == expected.sends);
    CHECK(replay.traffic().num_node_sends == expected.num_node_sends);
    CHECK(replay.traffic().num_pairs == expected.num_pairs);
    CHECK(replay.traffic().num_pairs_within_rank == expected.num_pairs_within_rank);
}

TEST_CASE("without tokens replayed figures are NaN") {
    const ReplayedTraffic traffic =
        replayed_traffic(routed_of({{-1, -1}, {}}, 2), 0, Placement{2, 1, {0, 1}});
    CHECK(traffic.total_tokens() == 0);
    CHECK(std::isnan(traffic.ranks_per_token()));
    CHECK(std::isnan(traffic.remote_ranks_per_token()));
    CHECK(std::isnan(traffic.nodes_per_token()));
    CHECK(std::isnan(traffic.saved_share()));
    CHECK(std::isnan(traffic.within_rank_share()));
}

TEST_CASE("replayed traffic refuses nodes, placements and ids that cannot be") {
    const Placement placement{4, 1, {0, 1, 2, 3}};
    for (const int num_nodes : {0, -1, 3, 8})
        CHECK(error_of([&] { replayed_traffic(routed_of({{0}}, 1), 0, placement, num_nodes); }) ==
              "traffic: " + std::to_string(num_nodes) +
                  " nodes for 4 ranks: num_nodes must divide ep_size");
    CHECK(error_of([&] {
              replayed_traffic(routed_of({{0, 4}}, 1), 0, placement);
          }) == "traffic: a token of expert 4, which stands in no slot of the placement");
    CHECK_STARTS_WITH(error_of([&] {
                          replayed_traffic(routed_of({{0}}, 1), 0, Placement{2, 1, {0, 2}});
                      }),
                      "expert 1 stands in no slot");
}

}  // namespace eplb::test_replayed_traffic
