#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/slot_router.h"
#include "tests/test_support.h"

namespace eplb::test_slot_router {

using eplb::SlotRouter;
using eplb::test::error_of;

namespace {

using Ids = std::vector<std::int32_t>;

Ids route(const SlotRouter& router, const Ids& expert_ids, int source_rank = 0) {
    Ids slots(expert_ids.size(), -7);
    router.route(expert_ids, source_rank, slots);
    return slots;
}

// The formula of the kernel, element by element, counting what came before.
Ids route_naively(const std::vector<int>& assignment,
                  int num_experts,
                  const Ids& expert_ids,
                  int source_rank) {
    Ids slots;
    for (std::size_t i = 0; i < expert_ids.size(); ++i) {
        const std::int32_t expert = expert_ids[i];
        if (expert < 0 || expert >= num_experts) {
            slots.push_back(static_cast<std::int32_t>(assignment.size()));
            continue;
        }
        const std::size_t block = i / 1024;
        std::size_t num_before = 0;
        for (std::size_t j = block * 1024; j < i; ++j)
            num_before += expert_ids[j] == expert;
        Ids replicas;
        for (std::size_t slot = 0; slot < assignment.size(); ++slot)
            if (assignment[slot] == expert)
                replicas.push_back(static_cast<std::int32_t>(slot));
        const std::size_t shift = num_before + block + static_cast<std::size_t>(source_rank);
        slots.push_back(replicas[shift % replicas.size()]);
    }
    return slots;
}

// Every expert once, the rest random, in random order.
std::vector<int> random_assignment(std::mt19937& random, int num_experts, int num_slots) {
    std::vector<int> assignment;
    for (int slot = 0; slot < num_slots; ++slot)
        assignment.push_back(slot < num_experts
                                 ? slot
                                 : static_cast<int>(random() % static_cast<unsigned>(num_experts)));
    std::shuffle(assignment.begin(), assignment.end(), random);
    return assignment;
}

Ids random_ids(std::mt19937& random, int num_experts, std::size_t count) {
    Ids ids(count);
    for (std::int32_t& id : ids)
        id = static_cast<std::int32_t>(random() % static_cast<unsigned>(num_experts));
    return ids;
}

struct Shape {
    int num_experts;
    int top_k;
    int ep_size;
    int slots_per_rank;
    int num_tokens;
};

// The shapes of the kernel's own tests upstream.
const std::vector<Shape> kShapes = {{8, 2, 2, 5, 128}, {256, 8, 32, 12, 5000}, {16, 2, 1, 16, 64}};

}  // namespace

TEST_CASE("replicas are listed in ascending slot order") {
    const SlotRouter router(std::vector<int>{2, 0, 1, 0, 2, 0}, 3);
    CHECK(router.num_experts() == 3);
    CHECK(router.num_slots() == 6);
    CHECK(router.num_replicas(0) == 3);
    CHECK(router.num_replicas(1) == 1);
    const auto slots = router.replica_slots(0);
    CHECK(Ids(slots.begin(), slots.end()) == Ids{1, 3, 5});
}

TEST_CASE("appearances of an expert take its replicas in turn") {
    const SlotRouter router(std::vector<int>{2, 0, 1, 0, 2, 0}, 3);
    CHECK(route(router, {0, 0, 2, 0, 1, 0, 2, 1, 2}) == Ids{1, 3, 0, 5, 2, 1, 4, 2, 0});
}

TEST_CASE("the source rank shifts where the turn begins") {
    const SlotRouter router(std::vector<int>{2, 0, 1, 0, 2, 0}, 3);
    CHECK(route(router, {0, 0, 2, 1}, 1) == Ids{3, 5, 4, 2});
    CHECK(route(router, {0, 0, 2, 1}, 2) == Ids{5, 1, 0, 2});
    CHECK(route(router, {0, 0, 2, 1}, 6) == route(router, {0, 0, 2, 1}, 0));
}

TEST_CASE("a block of 1024 ids starts its turns anew, one replica further") {
    const SlotRouter router(std::vector<int>{0, 0, 0, 1}, 2);
    Ids ids(1024 + 4, 1);
    ids[0] = ids[1] = 0;                    // slots 0, 1
    ids[1023] = 0;                          // the third of the block: slot 2
    ids[1024] = ids[1025] = ids[1027] = 0;  // begin at replica 1
    const Ids slots = route(router, ids);
    CHECK(slots[0] == 0);
    CHECK(slots[1] == 1);
    CHECK(slots[1023] == 2);
    CHECK(slots[1024] == 1);
    CHECK(slots[1025] == 2);
    CHECK(slots[1026] == 3);
    CHECK(slots[1027] == 0);
}

TEST_CASE("ids that are no expert become the invalid slot and count for nobody") {
    const SlotRouter router(std::vector<int>{0, 1, 0, 1}, 2);
    CHECK(route(router, {-1, 0, 2, 0, 1000000, -2147483647 - 1, 0}) == Ids{4, 0, 4, 2, 4, 4, 0});
}

TEST_CASE("without redundancy routing is a table read") {
    const SlotRouter router(std::vector<int>{2, 0, 3, 1}, 4);
    CHECK(route(router, {0, 1, 2, 3, 0, 0}, 5) == Ids{1, 3, 0, 2, 1, 1});
}

TEST_CASE("routing may write over its input") {
    const SlotRouter router(std::vector<int>{0, 1, 0, 1}, 2);
    Ids ids = {0, 0, 1, -1, 1};
    router.route(ids, 0, ids);
    CHECK(ids == Ids{0, 2, 1, 4, 3});
    router.route({}, 0, {});
}

TEST_CASE("routing equals the formula on the shapes of upstream's tests") {
    std::mt19937 random(7);
    for (const Shape& shape : kShapes)
        for (int round = 0; round < 3; ++round) {
            const std::vector<int> assignment =
                random_assignment(random, shape.num_experts, shape.ep_size * shape.slots_per_rank);
            const SlotRouter router(assignment, shape.num_experts);
            Ids ids = random_ids(random, shape.num_experts,
                                 static_cast<std::size_t>(shape.num_tokens * shape.top_k));
            const int source_rank = round == 0 ? 0 : static_cast<int>(random() % 40);
            if (round == 2)
                for (std::size_t i = 0; i < ids.size(); i += 13)
                    ids[i] = -1;
            // the twin is quadratic within a block and slow in slots: a few blocks will do
            ids.resize(std::min<std::size_t>(ids.size(), 5000));
            CHECK(route(router, ids, source_rank) ==
                  route_naively(assignment, shape.num_experts, ids, source_rank));
        }
}

TEST_CASE(
    "ids that are all invalid give the invalid slot alone, on the shapes of upstream's tests") {
    std::mt19937 random(8);
    for (const Shape& shape : kShapes) {
        const int num_slots = shape.ep_size * shape.slots_per_rank;
        const SlotRouter router(random_assignment(random, shape.num_experts, num_slots),
                                shape.num_experts);
        const auto count = static_cast<std::size_t>(shape.num_tokens * shape.top_k);
        CHECK(route(router, Ids(count, -1)) == Ids(count, num_slots));
        CHECK(route(router, Ids(count, shape.num_experts)) == Ids(count, num_slots));
    }
}

TEST_CASE("in one block the counts alone give each replica's share") {
    std::mt19937 random(9);
    const int num_experts = 12;
    const std::vector<int> assignment = random_assignment(random, num_experts, 40);
    const SlotRouter router(assignment, num_experts);
    for (int source_rank = 0; source_rank < 6; ++source_rank) {
        const Ids ids = random_ids(random, num_experts, 1024);
        const Ids slots = route(router, ids, source_rank);
        for (int expert = 0; expert < num_experts; ++expert) {
            const auto num_tokens = std::count(ids.begin(), ids.end(), expert);
            const int num_replicas = router.num_replicas(expert);
            for (int replica = 0; replica < num_replicas; ++replica) {
                std::int64_t expected = 0;  // #{m in [0, n): (m + rank) mod R == replica}
                for (std::int64_t m = 0; m < num_tokens; ++m)
                    expected += (m + source_rank) % num_replicas == replica;
                const std::int32_t slot = router.replica_slots(expert)[replica];
                CHECK(std::count(slots.begin(), slots.end(), slot) == expected);
            }
        }
    }
}

TEST_CASE("an assignment that leaves an expert out is refused") {
    CHECK(error_of([] {
              SlotRouter(std::vector<int>{0, 1, 1, 0}, 3);
          }) == "expert 2 stands in no slot of the assignment: every expert needs one");
    CHECK(error_of([] {
              SlotRouter(std::vector<int>{0, 1, 2, 3}, 3);
          }) == "expert id 3 in an assignment for 3 experts: ids start at 0");
    CHECK(!error_of([] { SlotRouter(std::vector<int>{0, 1, -1}, 2); }).empty());
}

}  // namespace eplb::test_slot_router
