#include "lib/placement/plan/alignment.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <numeric>

#include "lib/base/grid.h"
#include "lib/placement/plan/assignment.h"

namespace eplb {
namespace {

constexpr int kFree = -1;

void assert_same_shape([[maybe_unused]] const Placement& placement,
                       [[maybe_unused]] const Placement& current) {
    assert(placement.ep_size == current.ep_size);
    assert(placement.slots_per_rank == current.slots_per_rank);
}

std::vector<int> sorted(std::span<const int> experts) {
    std::vector<int> ids(experts.begin(), experts.end());
    std::sort(ids.begin(), ids.end());
    return ids;
}

// How many experts two sorted lists have in common; one that stands twice in both counts twice.
int num_shared(const std::vector<int>& experts, const std::vector<int>& others) {
    std::vector<int> shared;
    std::set_intersection(experts.begin(), experts.end(), others.begin(), others.end(),
                          std::back_inserter(shared));
    return static_cast<int>(shared.size());
}

class Alignment {
  public:
    Alignment(const Placement& placement,
              const Placement& current,
              int num_nodes,
              std::span<const double> rank_speed)
        : num_nodes_(num_nodes),
          ranks_per_node_(placement.ep_size / num_nodes),
          values_(Moves::num_values({placement.ep_size, placement.ep_size})),
          moves_(values_, {placement.ep_size, placement.ep_size}) {
        std::vector<std::vector<int>> planned;
        std::vector<std::vector<int>> in_force;
        for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
            planned.push_back(sorted(placement.rank(rank_id)));
            in_force.push_back(sorted(current.rank(rank_id)));
        }
        for (int from = 0; from < placement.ep_size; ++from)
            for (int to = 0; to < placement.ep_size; ++to)
                moves_(from, to) =
                    !rank_speed.empty() && rank_speed[from] != rank_speed[to]
                        ? kForbiddenPair
                        : placement.slots_per_rank - num_shared(planned[from], in_force[to]);
    }
    Alignment(const Alignment&) = delete;

    // [ep_size]: where each rank of the placement goes
    std::vector<int> new_rank_ids() const {
        std::vector<Assignment> ranks;  // [num_nodes][num_nodes]
        std::vector<std::int64_t> cost;
        for (int from = 0; from < num_nodes_; ++from)
            for (int to = 0; to < num_nodes_; ++to) {
                ranks.push_back(match_ranks(from, to));
                cost.push_back(std::min(ranks.back().cost, kForbiddenPair));
            }
        const Assignment nodes = cheapest_assignment(cost, num_nodes_);
        std::vector<int> new_ids;
        for (int from = 0; from < num_nodes_; ++from) {
            const int to = nodes.column_of_row[from];
            for (const int within : ranks[from * num_nodes_ + to].column_of_row)
                new_ids.push_back(to * ranks_per_node_ + within);
        }
        return new_ids;
    }

  private:
    using Moves = Grid<std::int64_t, 2>;

    // The ranks of one node onto those of another, or the same.
    Assignment match_ranks(int from_node, int to_node) const {
        std::vector<std::int64_t> cost;
        for (int from = 0; from < ranks_per_node_; ++from)
            for (int to = 0; to < ranks_per_node_; ++to)
                cost.push_back(
                    moves_(from_node * ranks_per_node_ + from, to_node * ranks_per_node_ + to));
        return cheapest_assignment(cost, ranks_per_node_);
    }

    int num_nodes_;
    int ranks_per_node_;
    std::vector<std::int64_t> values_;
    Moves moves_;  // [ep_size][ep_size]: planned rank, place of a current one
};

}  // namespace

std::vector<int> moves_per_rank(const Placement& placement, const Placement& current) {
    assert_same_shape(placement, current);
    std::vector<int> moves;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        const std::span<const int> rank = placement.rank(rank_id);
        const std::span<const int> before = current.rank(rank_id);
        moves.push_back(std::inner_product(rank.begin(), rank.end(), before.begin(), 0,
                                           std::plus<>(), std::not_equal_to<>()));
    }
    return moves;
}

int num_moves(const Placement& placement, const Placement& current) {
    const std::vector<int> moves = moves_per_rank(placement, current);
    return std::accumulate(moves.begin(), moves.end(), 0);
}

Placement keep_slots(const Placement& placement, const Placement& current) {
    assert_same_shape(placement, current);
    Placement kept = placement;
    std::vector<int> leftover;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        const std::span<const int> before = current.rank(rank_id);
        const std::span<int> slots = kept.rank(rank_id);
        std::fill(slots.begin(), slots.end(), kFree);
        leftover.clear();
        for (const int expert : placement.rank(rank_id)) {
            std::size_t slot = 0;
            while (slot < slots.size() && (before[slot] != expert || slots[slot] != kFree))
                ++slot;
            if (slot < slots.size())
                slots[slot] = expert;
            else
                leftover.push_back(expert);
        }
        auto next = leftover.begin();
        for (int& slot : slots)
            if (slot == kFree)
                slot = *next++;
    }
    return kept;
}

Placement align(const Placement& placement,
                const Placement& current,
                int num_nodes,
                std::span<const double> rank_speed) {
    assert_same_shape(placement, current);
    assert(num_nodes >= 1 && placement.ep_size % num_nodes == 0);
    const std::vector<int> new_ids =
        Alignment(placement, current, num_nodes, rank_speed).new_rank_ids();
    Placement permuted = placement;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        const std::span<const int> rank = placement.rank(rank_id);
        std::copy(rank.begin(), rank.end(), permuted.rank(new_ids[rank_id]).begin());
    }
    return keep_slots(permuted, current);
}

}  // namespace eplb
