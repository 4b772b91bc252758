#include "lib/collect/counter.h"

#include <algorithm>
#include <random>

#include "lib/base/grid.h"
#include "tests/collect/runs.h"
#include "tests/test_support.h"

namespace eplb::test_counter {

namespace {

constexpr int kEpSize = 4;
constexpr int kNumExperts = 12;
constexpr int kTopK = 3;

MoeModelConfig small_model() {
    MoeModelConfig model;
    model.layers = {2, 5, 6};
    model.router.num_experts = kNumExperts;
    model.router.top_k = kTopK;
    return model;
}

// ids of tokens, with some ranks that have none; more than a block of 1024 on some
struct Tokens {
    std::vector<std::int32_t> rank_begin = {0};
    std::vector<std::int32_t> ids;
};

Tokens random_tokens(std::mt19937& generator) {
    Tokens tokens;
    for (int rank = 0; rank < kEpSize; ++rank) {
        const auto num_tokens = static_cast<int>(generator() % 4 == 0 ? 0 : generator() % 500);
        tokens.rank_begin.push_back(tokens.rank_begin.back() + num_tokens);
        for (int i = 0; i < num_tokens * kTopK; ++i)
            tokens.ids.push_back(
                static_cast<std::int32_t>(std::min(generator() % 12, generator() % 12)));
    }
    return tokens;
}

}  // namespace

TEST_CASE("a counter counts what a replay id by id does, while layers are re-placed") {
    const MoeModelConfig model = small_model();
    for (const int num_devices : {1, 2, 4})
        for (const int updates : {-1, 0, 1, 3}) {  // below 0: no config
            INFO(num_devices << " devices, " << updates << " updates");
            std::optional<EplbConfig> config;
            if (updates >= 0)
                config = test::shuffled_config(model, 20, updates);
            const ExpertLayout layout =
                lay_out_experts(model, kEpSize, config, num_devices, LoopOrder::by_iteration);
            const int num_ranks = kEpSize / num_devices;
            std::vector<Counter> counters;
            for (int device = 0; device < num_devices; ++device)
                counters.emplace_back(layout, kNumExperts, kTopK, device * num_ranks);
            const int num_slots = counters.front().num_slots();
            CHECK(num_slots == (config ? 20 : kNumExperts));
            CHECK(counters.front().cycle_length().has_value() == (updates > 0));
            OnlineBalancer balancer(3, kNumExperts, kEpSize, 5, std::max(updates, 1));
            std::vector<Placement> placements = layout.placements;
            std::mt19937 generator(8);
            int num_moved = 0;
            for (int iteration = 3; iteration < 12; ++iteration)
                for (int layer = 0; layer < 3; ++layer) {
                    const Tokens tokens = random_tokens(generator);
                    std::vector<std::int64_t> expert_counts(kNumExperts);
                    for (const std::int32_t id : tokens.ids)
                        ++expert_counts[id];
                    for (int device = 0; device < num_devices; ++device) {
                        std::vector<std::int32_t> begin;
                        const std::int32_t first = tokens.rank_begin[device * num_ranks];
                        for (int rank = 0; rank <= num_ranks; ++rank)
                            begin.push_back(tokens.rank_begin[device * num_ranks + rank] - first);
                        std::vector<std::int32_t> ids(
                            tokens.ids.begin() + first * kTopK,
                            tokens.ids.begin() + (first + begin.back()) * kTopK);
                        std::vector<std::int32_t> expected_ids;
                        std::vector<std::int64_t> expected(num_ranks * num_slots, 7);
                        std::vector<std::int64_t> counts = expected;  // added to
                        const Grid<std::int64_t, 2> rows(expected, {num_ranks, num_slots});
                        for (int rank = 0; rank < num_ranks; ++rank) {
                            std::vector<std::int32_t> own(ids.begin() + begin[rank] * kTopK,
                                                          ids.begin() + begin[rank + 1] * kTopK);
                            if (config)
                                own = test::round_robin(placements[layer].expert_ids, own,
                                                        device * num_ranks + rank);
                            for (const std::int32_t slot : own)
                                ++rows(rank, slot);
                            expected_ids.insert(expected_ids.end(), own.begin(), own.end());
                        }
                        counters[device].count(layer, begin, ids, counts);
                        REQUIRE(counts == expected);
                        REQUIRE(ids == expected_ids);
                    }
                    if (updates <= 0)
                        continue;
                    const std::optional<Placement> next =
                        balancer.update(iteration, layer, expert_counts);
                    int expected_moved = 0;
                    for (int slot = 0; next && slot < num_slots; ++slot)
                        expected_moved +=
                            next->expert_ids[slot] != placements[layer].expert_ids[slot] ? 1 : 0;
                    if (next)
                        placements[layer] = *next;
                    for (Counter& counter : counters) {
                        REQUIRE(counter.rebalance(iteration, layer, expert_counts) ==
                                expected_moved);
                        REQUIRE(counter.placement(layer) == placements[layer]);
                    }
                    num_moved += expected_moved;
                }
            CHECK((num_moved > 0) == (updates > 0));
        }
}

}  // namespace eplb::test_counter
