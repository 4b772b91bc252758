#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/launch.h"
#include "lib/base/error.h"
#include "lib/placement/route/slot_router.h"
#include "tests/kernels/cuda/launch_support.h"

namespace {

using namespace eplb;
using namespace eplb::test;

std::vector<std::int32_t> random_ids(std::size_t size, int first, int last, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_int_distribution<std::int32_t> id(first, last);
    std::vector<std::int32_t> ids(size);
    for (std::int32_t& each : ids)
        each = id(generator);
    return ids;
}

// Tokens of some ranks, some of which have none.
std::vector<std::int32_t> ranks_of(int num_tokens, int num_ranks, unsigned seed) {
    std::vector<std::int32_t> begin =
        random_ids(static_cast<std::size_t>(num_ranks) + 1, 0, num_tokens, seed);
    std::sort(begin.begin(), begin.end());
    begin.front() = 0;
    begin.back() = num_tokens;
    return begin;
}

struct SlotCase {
    int num_experts, num_slots, num_ranks, num_tokens, top_k, first_rank;
};

void check_slots(const SlotCase& shape, bool with_strange_ids, unsigned seed) {
    CAPTURE(shape.num_experts, shape.num_slots, shape.num_ranks, shape.num_tokens, shape.top_k);
    // the first slots hold every expert, the others any
    std::vector<int> placement(shape.num_experts);
    std::iota(placement.begin(), placement.end(), 0);
    const auto num_more = static_cast<std::size_t>(shape.num_slots - shape.num_experts);
    for (const std::int32_t expert : random_ids(num_more, 0, shape.num_experts / 3, seed))
        placement.push_back(expert);
    std::shuffle(placement.begin(), placement.end(), std::mt19937(seed + 1));
    const SlotRouter router(placement, shape.num_experts);

    const auto top_k = static_cast<std::size_t>(shape.top_k);
    const auto num_ids = static_cast<std::size_t>(shape.num_tokens) * top_k;
    std::vector<std::int32_t> ids = random_ids(num_ids, 0, shape.num_experts - 1, seed + 2);
    if (with_strange_ids)
        for (std::size_t i = 0; i < ids.size(); i += 7)
            ids[i] = i % 2 == 0 ? -1 : shape.num_experts + static_cast<std::int32_t>(i);
    const std::vector<std::int32_t> rank_begin =
        ranks_of(shape.num_tokens, shape.num_ranks, seed + 3);

    std::vector<std::int32_t> slots(num_ids);
    const auto num_slots = static_cast<std::size_t>(shape.num_slots);
    std::vector<std::int32_t> counts(static_cast<std::size_t>(shape.num_ranks) * num_slots, 3);
    for (int rank = 0; rank < shape.num_ranks; ++rank) {
        const auto r = static_cast<std::size_t>(rank);
        const auto begin = static_cast<std::size_t>(rank_begin[r]) * top_k;
        const auto size = static_cast<std::size_t>(rank_begin[r + 1]) * top_k - begin;
        router.route(std::span(ids).subspan(begin, size), shape.first_rank + rank,
                     std::span(slots).subspan(begin, size));
        for (std::size_t i = begin; i < begin + size; ++i)
            if (slots[i] < shape.num_slots)
                ++counts[r * num_slots + static_cast<std::size_t>(slots[i])];
    }

    const SlotReplicas replicas = router.replicas();
    DeviceArray<std::int32_t> start(
        std::vector<std::int32_t>(replicas.start.begin(), replicas.start.end()));
    DeviceArray<std::int32_t> slot_ids(
        std::vector<std::int32_t>(replicas.slot_ids.begin(), replicas.slot_ids.end()));
    DeviceArray<std::int32_t> device_rank_begin(rank_begin);
    DeviceArray<std::int32_t> device_ids(ids);
    DeviceArray<std::int32_t> device_counts(std::vector<std::int32_t>(counts.size(), 3));
    // in place
    cuda::assign_slots({shape.num_experts, shape.num_slots, start.data(), slot_ids.data()},
                       {shape.num_ranks, device_rank_begin.data()}, shape.first_rank,
                       shape.num_tokens, shape.top_k, device_ids.data(), device_ids.data(),
                       device_counts.data(), nullptr);
    REQUIRE(device_ids.get() == slots);
    REQUIRE(device_counts.get() == counts);
}

// By a sort that keeps the order of equals.
void check_plan(int num_slots,
                int first_slot,
                int num_tokens,
                int top_k,
                bool some_tokens,
                bool one_slot,
                unsigned seed) {
    CAPTURE(num_slots, first_slot, num_tokens, top_k, some_tokens, one_slot);
    const int num_all = some_tokens ? 2 * num_tokens + 3 : num_tokens;
    const auto k = static_cast<std::size_t>(top_k);
    std::vector<std::int32_t> slot_ids =
        random_ids(static_cast<std::size_t>(num_all) * k, first_slot,
                   one_slot ? first_slot : first_slot + num_slots - 1, seed);
    std::vector<std::int32_t> tokens(num_all);
    std::iota(tokens.begin(), tokens.end(), 0);
    if (some_tokens) {
        std::shuffle(tokens.begin(), tokens.end(), std::mt19937(seed));
        tokens.resize(num_tokens);
        // those of other tokens are anywhere
        for (std::int32_t token = 0; token < num_all; ++token)
            if (std::find(tokens.begin(), tokens.end(), token) == tokens.end())
                slot_ids[static_cast<std::size_t>(token) * k] = -5;
    }
    const auto num_pairs = static_cast<std::size_t>(num_tokens) * k;
    const auto slot_of = [&](std::size_t pair) {
        return slot_ids[static_cast<std::size_t>(tokens[pair / k]) * k + pair % k];
    };
    std::vector<std::size_t> order(num_pairs);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return slot_of(a) < slot_of(b); });
    std::vector<std::int32_t> slot_begin(static_cast<std::size_t>(num_slots) + 1);
    std::vector<std::int32_t> rows(num_pairs), source_rows(num_pairs), row_slots(num_pairs);
    for (std::size_t row = 0; row < num_pairs; ++row) {
        rows[order[row]] = static_cast<std::int32_t>(row);
        source_rows[row] = tokens[order[row] / k];
        row_slots[row] = slot_of(order[row]);
    }
    for (int slot = 0; slot <= num_slots; ++slot)
        slot_begin[slot] = static_cast<std::int32_t>(
            std::count_if(row_slots.begin(), row_slots.end(),
                          [&](std::int32_t each) { return each < first_slot + slot; }));

    DeviceArray<std::int32_t> device_tokens(tokens);
    DeviceArray<std::int32_t> device_slot_ids(slot_ids);
    DeviceArray<std::int32_t> device_begin(slot_begin.size());
    DeviceArray<std::int32_t> device_rows(num_pairs);
    DeviceArray<std::int32_t> device_sources(num_pairs);
    DeviceArray<std::int32_t> device_row_slots(num_pairs);
    const Backend::DispatchArguments dispatch = {top_k,
                                                 num_slots,
                                                 first_slot,
                                                 num_tokens,
                                                 some_tokens ? device_tokens.data() : nullptr,
                                                 device_slot_ids.data()};
    DeviceArray<std::byte> workspace(cuda::dispatch_workspace_bytes(dispatch));
    cuda::plan_dispatch(
        dispatch,
        {device_begin.data(), device_rows.data(), device_sources.data(), device_row_slots.data()},
        workspace.data(), nullptr);
    REQUIRE(device_begin.get() == slot_begin);
    REQUIRE(device_rows.get() == rows);
    REQUIRE(device_sources.get() == source_rows);
    REQUIRE(device_row_slots.get() == row_slots);
    // row_slots is not needed
    cuda::plan_dispatch(dispatch,
                        {device_begin.data(), device_rows.data(), device_sources.data(), nullptr},
                        workspace.data(), nullptr);
    REQUIRE(device_rows.get() == rows);
}

}  // namespace

TEST_CASE("assign_slots: the router's slots, block by block and rank by rank") {
    unsigned seed = 0;
    for (const SlotCase& shape :
         {SlotCase{8, 8, 1, 1, 1, 0}, SlotCase{1, 3, 2, 700, 2, 1}, SlotCase{8, 11, 3, 33, 2, 5},
          SlotCase{64, 80, 4, 1000, 6, 2}, SlotCase{256, 288, 32, 1000, 8, 0},
          SlotCase{256, 288, 70, 300, 8, 64}, SlotCase{1024, 1400, 2, 500, 32, 3},
          SlotCase{60, 61, 1, 1024, 4, 0}, SlotCase{60, 120, 200, 60, 4, 0},
          SlotCase{16, 16, 3, 0, 2, 0}})
        for (const bool strange : {false, true})
            check_slots(shape, strange, seed += 10);
}

TEST_CASE("plan_dispatch: a stable sort by slot") {
    unsigned seed = 500;
    for (const int num_slots : {1, 5, 32, 257, 1000, cuda::kMostDispatchSlots})
        for (const int num_tokens : {0, 1, 33, 127, 128, 129, 300})
            for (const bool some_tokens : {false, true})
                check_plan(num_slots, some_tokens ? 12 : 0, num_tokens, 8, some_tokens, false,
                           ++seed);
    check_plan(64, 0, 600, 6, true, true, ++seed);     // all in one slot
    check_plan(3, 7, 17000, 2, false, false, ++seed);  // more blocks than a warp has lanes
}

TEST_CASE("dispatch: what a GPU cannot do is an error") {
    CHECK_THROWS_AS(cuda::assign_slots({1025, 1025, nullptr, nullptr}, {}, 0, 1, 1, nullptr,
                                       nullptr, nullptr, nullptr),
                    Error);
    CHECK_THROWS_AS(cuda::plan_dispatch({1, 3073, 0, 1, nullptr, nullptr}, {}, nullptr, nullptr),
                    Error);
}
