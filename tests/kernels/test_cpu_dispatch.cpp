#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/placement/placement.h"
#include "lib/placement/route/slot_router.h"
#include "tests/test_support.h"

using namespace eplb;

namespace {

std::vector<std::int32_t> random_ids(std::size_t size, int first, int count, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::int32_t> ids(size);
    for (std::int32_t& id : ids)
        id = first + static_cast<std::int32_t>(generator() % static_cast<unsigned>(count));
    return ids;
}

}  // namespace

TEST_CASE("a dispatch plan orders rows by slot, then token, and finds each pair its row") {
    constexpr int kTopK = 3;
    constexpr int kNumSlots = 7;
    constexpr int kFirstSlot = 20;
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const std::vector<std::int32_t> slot_ids =
        random_ids(std::size_t{40} * kTopK, kFirstSlot, kNumSlots, 1);
    for (const std::vector<std::int32_t>& tokens :
         {std::vector<std::int32_t>{0, 1, 5, 6, 7, 20, 39}, std::vector<std::int32_t>{}}) {
        for (const bool all : {false, true}) {
            std::vector<std::int32_t> expected_tokens = tokens;
            if (all) {
                expected_tokens.resize(40);
                std::iota(expected_tokens.begin(), expected_tokens.end(), 0);
            }
            const std::size_t num_rows = expected_tokens.size() * kTopK;
            std::vector<std::int32_t> slot_begin(kNumSlots + 1, -1);
            std::vector<std::int32_t> rows(num_rows);
            std::vector<std::int32_t> source_rows(num_rows);
            std::vector<std::int32_t> row_slots(num_rows);
            backend.plan_dispatch({.top_k = kTopK,
                                   .num_slots = kNumSlots,
                                   .first_slot = kFirstSlot,
                                   .num_tokens = static_cast<int>(expected_tokens.size()),
                                   .tokens = all ? nullptr : tokens.data(),
                                   .slot_ids = slot_ids.data()},
                                  {.slot_begin = slot_begin.data(),
                                   .rows = rows.data(),
                                   .source_rows = source_rows.data(),
                                   .row_slots = row_slots.data()});
            // a stable sort of the pairs says what must come out
            struct Pair {
                std::int32_t slot;
                std::size_t pair;
            };
            std::vector<Pair> pairs;
            for (std::size_t i = 0; i < expected_tokens.size(); ++i)
                for (std::size_t j = 0; j < kTopK; ++j)
                    pairs.push_back(
                        {slot_ids[static_cast<std::size_t>(expected_tokens[i]) * kTopK + j],
                         i * kTopK + j});
            std::stable_sort(pairs.begin(), pairs.end(),
                             [](const Pair& a, const Pair& b) { return a.slot < b.slot; });
            for (std::size_t row = 0; row < pairs.size(); ++row) {
                REQUIRE(rows[pairs[row].pair] == static_cast<std::int32_t>(row));
                REQUIRE(source_rows[row] == expected_tokens[pairs[row].pair / kTopK]);
                REQUIRE(row_slots[row] == pairs[row].slot);
            }
            for (int slot = 0; slot <= kNumSlots; ++slot)
                REQUIRE(slot_begin[slot] ==
                        std::count_if(pairs.begin(), pairs.end(), [&](const Pair& pair) {
                            return pair.slot < kFirstSlot + slot;
                        }));
        }
    }
}

TEST_CASE("slots are assigned rank by rank as SlotRouter does, and counted") {
    constexpr int kTopK = 6;
    constexpr int kFirstRank = 5;
    ThreadPool threads(3);
    CpuBackend backend(threads);
    std::vector<int> placed = {0, 1, 2, 3, 4, 5, 6, 7, 2, 2, 5, 0};
    const SlotRouter router(placed, 8);
    const std::vector<std::int32_t> rank_begin = {0, 200, 200, 731};  // one rank without tokens
    const std::vector<std::int32_t> expert_ids =
        random_ids(static_cast<std::size_t>(rank_begin.back()) * kTopK, 0, 8, 2);
    std::vector<std::int32_t> slot_ids(expert_ids.size());
    std::vector<std::int32_t> counts(3 * placed.size(), 100);
    backend.assign_slots({.num_experts = 8,
                          .num_slots = router.num_slots(),
                          .start = router.replicas().start.data(),
                          .slot_ids = router.replicas().slot_ids.data()},
                         {.num_ranks = 3, .rank_begin = rank_begin.data()}, kFirstRank,
                         rank_begin.back(), kTopK, expert_ids.data(), slot_ids.data(),
                         counts.data());
    std::vector<std::int32_t> expected_counts(counts.size(), 100);
    for (std::size_t rank = 0; rank < 3; ++rank) {
        const auto begin = static_cast<std::size_t>(rank_begin[rank]) * kTopK;
        const auto end = static_cast<std::size_t>(rank_begin[rank + 1]) * kTopK;
        std::vector<std::int32_t> expected(end - begin);
        router.route(std::span(expert_ids).subspan(begin, end - begin),
                     kFirstRank + static_cast<int>(rank), expected);
        for (std::size_t i = begin; i < end; ++i) {
            REQUIRE(slot_ids[i] == expected[i - begin]);
            ++expected_counts[rank * placed.size() + static_cast<std::size_t>(slot_ids[i])];
        }
    }
    CHECK(counts == expected_counts);
}

TEST_CASE("rows are copied, repeated and gathered") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    std::vector<float> from(300 * 5);
    std::iota(from.begin(), from.end(), 0.0F);
    std::vector<float> to(300 * 12, -1);
    backend.copy_rows({.num_rows = 300,
                       .size = 3,
                       .from_stride = 5,
                       .to_stride = 12,
                       .num_copies = 2,
                       .copy_stride = 6},
                      from.data() + 1, to.data() + 2);
    for (std::size_t row = 0; row < 300; ++row)
        for (std::size_t i = 0; i < 12; ++i) {
            const bool copied = (i >= 2 && i < 5) || (i >= 8 && i < 11);
            const auto expected = copied ? static_cast<float>(row * 5 + 1 + (i - 2) % 6) : -1.0F;
            REQUIRE(to[row * 12 + i] == expected);
        }

    const std::vector<std::int32_t> source_rows = {7, 0, 7, 299};
    std::vector<float> gathered(4 * 5);
    backend.gather_rows(source_rows.data(), 4, 5 * sizeof(float), from.data(), gathered.data());
    for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t i = 0; i < 5; ++i)
            REQUIRE(gathered[row * 5 + i] ==
                    static_cast<float>(source_rows[row] * 5 + static_cast<int>(i)));
}

TEST_CASE("values that are no finite numbers are seen wherever they are") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    std::vector<float> values(200000, 1.0F);
    CHECK(backend.all_finite(values.data(), 200000));
    CHECK(backend.all_finite(nullptr, 0));
    for (const std::size_t at : {std::size_t{0}, std::size_t{131071}, std::size_t{199999}}) {
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            values[at] = bad;
            CHECK_FALSE(backend.all_finite(values.data(), 200000));
        }
        values[at] = 1;
    }
}
