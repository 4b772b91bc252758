#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "lib/placement/plan/alignment.h"
#include "lib/placement/plan/assignment.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_alignment {

using eplb::align;
using eplb::Assignment;
using eplb::cheapest_assignment;
using eplb::keep_slots;
using eplb::kForbiddenPair;
using eplb::moves_per_rank;
using eplb::num_moves;
using eplb::Placement;
using eplb::test::Random;

namespace {

std::vector<int> sorted(std::vector<int> ids) {
    std::sort(ids.begin(), ids.end());
    return ids;
}

std::vector<int> experts_of(const Placement& placement, int rank_id) {
    const auto rank = placement.rank(rank_id);
    return sorted({rank.begin(), rank.end()});
}

// [ep_size], each sorted; in any order of the ranks
std::vector<std::vector<int>> all_ranks(const Placement& placement) {
    std::vector<std::vector<int>> ranks;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id)
        ranks.push_back(experts_of(placement, rank_id));
    std::sort(ranks.begin(), ranks.end());
    return ranks;
}

// Experts, with repetitions, that the one list has more of than the other.
int num_lacking(std::vector<int> experts, const std::vector<int>& others) {
    for (const int expert : others) {
        const auto found = std::find(experts.begin(), experts.end(), expert);
        if (found != experts.end())
            experts.erase(found);
    }
    return static_cast<int>(experts.size());
}

Placement random_placement(Random& random, int ep_size, int slots_per_rank, int num_experts) {
    Placement placement{ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(random.between(0, num_experts - 1));
    return placement;
}

// Whether rank i of a plan may become rank order[i]: whole nodes, and ranks of equal speed.
bool is_allowed(const std::vector<int>& order, int num_nodes, const std::vector<double>& speed) {
    const int per_node = static_cast<int>(order.size()) / num_nodes;
    for (std::size_t a = 0; a < order.size(); ++a) {
        if (!speed.empty() && speed[a] != speed[order[a]])
            return false;
        for (std::size_t b = 0; b < a; ++b) {
            const bool together = static_cast<int>(a) / per_node == static_cast<int>(b) / per_node;
            const bool together_after = order[a] / per_node == order[b] / per_node;
            if (together != together_after)
                return false;
        }
    }
    return true;
}

// By trying every order of the ranks.
int fewest_moves(const Placement& placement,
                 const Placement& current,
                 int num_nodes,
                 const std::vector<double>& speed) {
    std::vector<int> order(placement.ep_size);
    std::iota(order.begin(), order.end(), 0);
    int fewest = placement.num_slots() + 1;
    do {
        if (!is_allowed(order, num_nodes, speed))
            continue;
        int moves = 0;
        for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id)
            moves +=
                num_lacking(experts_of(placement, rank_id), experts_of(current, order[rank_id]));
        fewest = std::min(fewest, moves);
    } while (std::next_permutation(order.begin(), order.end()));
    return fewest;
}

}  // namespace

TEST_CASE("experts that a rank keeps stay in their slots") {
    // rank 0 keeps 2 and 5; 7 and 1 come. Rank 1 has 4 twice before and once after.
    const Placement current{2, 4, {5, 0, 2, 3, 4, 6, 4, 1}};
    const Placement planned{2, 4, {7, 2, 1, 5, 1, 0, 4, 3}};
    const Placement kept = keep_slots(planned, current);
    CHECK(kept.expert_ids == std::vector<int>{5, 7, 2, 1, 4, 0, 3, 1});
    CHECK(moves_per_rank(kept, current) == std::vector<int>{2, 2});
    CHECK(num_moves(kept, current) == 4);
    CHECK(num_moves(current, current) == 0);
}

TEST_CASE("a plan that only numbers its ranks otherwise moves nothing") {
    const Placement current{3, 2, {0, 1, 2, 3, 4, 5}};
    const Placement planned{3, 2, {3, 2, 5, 4, 1, 0}};
    CHECK(align(planned, current, 1, {}) == current);
    // ranks of other speeds are no substitute for each other: only 0 and 2 change places
    const std::vector<double> speed = {1, 0.5, 1};
    CHECK(align(planned, current, 1, speed).expert_ids == std::vector<int>{0, 1, 5, 4, 3, 2});
}

TEST_CASE("ranks that nothing is gained by keep their place") {
    // nothing in common with what is in force, whatever the order
    const Placement current{3, 1, {0, 1, 2}};
    const Placement planned{3, 1, {5, 3, 4}};
    CHECK(align(planned, current, 1, {}) == planned);
}

TEST_CASE("no order of the ranks moves fewer slots than the one chosen") {
    Random random(1);
    for (int trial = 0; trial < 400; ++trial) {
        const int num_nodes = trial % 2 == 0 ? 1 : random.between(1, 3);
        const int ep_size = num_nodes == 1 ? random.between(1, 6) : 2 * num_nodes;
        const int slots_per_rank = random.between(1, 4);
        const int num_experts = random.between(2, 10);
        const Placement planned = random_placement(random, ep_size, slots_per_rank, num_experts);
        const Placement current = random_placement(random, ep_size, slots_per_rank, num_experts);
        std::vector<double> speed;
        if (trial % 3 == 0)
            for (int rank_id = 0; rank_id < ep_size; ++rank_id)
                speed.push_back(random.between(1, 2));
        const Placement aligned = align(planned, current, num_nodes, speed);
        CAPTURE(trial, num_nodes, ep_size, slots_per_rank, speed, planned.expert_ids,
                current.expert_ids, aligned.expert_ids);
        CHECK(num_moves(aligned, current) == fewest_moves(planned, current, num_nodes, speed));
        CHECK(all_ranks(aligned) == all_ranks(planned));

        // some allowed order of the plan's ranks gives it
        std::vector<int> order(ep_size);
        std::iota(order.begin(), order.end(), 0);
        bool is_reached = false;
        do {
            bool is_this = is_allowed(order, num_nodes, speed);
            for (int rank_id = 0; rank_id < ep_size; ++rank_id)
                is_this =
                    is_this && experts_of(planned, rank_id) == experts_of(aligned, order[rank_id]);
            is_reached = is_reached || is_this;
        } while (std::next_permutation(order.begin(), order.end()));
        CHECK(is_reached);
    }
}

TEST_CASE("assignments are the cheapest, and keep rows at their own columns") {
    Random random(2);
    for (int trial = 0; trial < 500; ++trial) {
        const int size = random.between(1, 6);
        std::vector<std::int64_t> cost;
        for (int i = 0; i < size * size; ++i)
            cost.push_back(random.between(0, 5) == 0 ? kForbiddenPair : random.between(0, 4));
        const auto cost_of = [&](const std::vector<int>& columns) {
            std::int64_t sum = 0;
            for (int row = 0; row < size; ++row)
                sum += cost[row * size + columns[row]];
            return sum;
        };
        const auto num_kept = [&](const std::vector<int>& columns) {
            int count = 0;
            for (int row = 0; row < size; ++row)
                count += columns[row] == row;
            return count;
        };
        std::vector<int> columns(size);
        std::iota(columns.begin(), columns.end(), 0);
        std::int64_t least = cost_of(columns);
        int most_kept = 0;
        do {
            if (cost_of(columns) < least)
                most_kept = 0;
            least = std::min(least, cost_of(columns));
            if (cost_of(columns) == least)
                most_kept = std::max(most_kept, num_kept(columns));
        } while (std::next_permutation(columns.begin(), columns.end()));

        const Assignment assignment = cheapest_assignment(cost, size);
        CHECK(sorted(assignment.column_of_row) == columns);  // the last order is sorted again
        CHECK(assignment.cost == least);
        CHECK(cost_of(assignment.column_of_row) == least);
        CHECK(num_kept(assignment.column_of_row) == most_kept);
    }
}

TEST_CASE("an assignment of hundreds of rows finds the order that costs nothing") {
    Random random(3);
    const int size = 320;
    std::vector<int> hidden(size);
    std::iota(hidden.begin(), hidden.end(), 0);
    random.shuffle(hidden);
    std::vector<std::int64_t> cost;
    for (int row = 0; row < size; ++row)
        for (int column = 0; column < size; ++column)
            cost.push_back(column == hidden[row] ? 0 : random.between(1, 8));
    const Assignment assignment = cheapest_assignment(cost, size);
    CHECK(assignment.column_of_row == hidden);
    CHECK(assignment.cost == 0);
}

}  // namespace eplb::test_alignment
