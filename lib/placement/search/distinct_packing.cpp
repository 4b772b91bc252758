#include "lib/placement/search/distinct_packing.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace eplb {
namespace {

// Whether a lower slot of the rank holds the same expert.
bool repeats(const SlotTable& table, int slot) {
    const int first = table.rank_of(slot) * table.slots_per_rank();
    for (int before = first; before < slot; ++before)
        if (table.expert(before) == table.expert(slot))
            return true;
    return false;
}

// The first rank that lacks the repeated expert gives one in exchange that the slot's rank lacks,
// or else one that it repeats itself: where all of its experts are on the slot's rank too, it has
// fewer of them than slots. Either way there are fewer repetitions than before.
void repair(SlotTable& table, int slot) {
    int rank_id = 0;
    while (table.hosts(rank_id, table.expert(slot)))
        ++rank_id;
    const int first = rank_id * table.slots_per_rank();
    int given = first;
    for (int other = first; other < first + table.slots_per_rank(); ++other) {
        if (!table.hosts(table.rank_of(slot), table.expert(other))) {
            given = other;
            break;
        }
        if (repeats(table, other))
            given = other;
    }
    table.swap(slot, given);
}

// Replicas that found no rank without their expert change places until none is left.
void repair_duplicates(SlotTable& table) {
    for (bool again = true; again;) {
        again = false;
        for (int slot = 0; slot < table.num_slots(); ++slot)
            if (repeats(table, slot)) {
                repair(table, slot);
                again = true;
            }
    }
}

}  // namespace

std::vector<int> replicate(const PlacementProblem& problem,
                           std::span<const double> load,
                           double exponent,
                           int num_held_back) {
    const int most = problem.max_replicas();
    std::vector<int> replica_count(load.size(), problem.min_replicas);
    std::vector<double> divisor(most + 1);
    for (int r = 1; r <= most; ++r)
        divisor[r] = r * std::pow(r + 1.0, exponent);
    // the largest first, the lower id on a tie
    using Entry = std::pair<double, int>;
    const auto entry = [&](int expert) {
        return Entry(load[expert] / divisor[replica_count[expert]], -expert);
    };
    std::vector<Entry> entries;
    if (problem.min_replicas < most)
        for (int expert = 0; expert < problem.num_experts; ++expert)
            entries.push_back(entry(expert));
    std::priority_queue<Entry> heap(std::less<Entry>(), std::move(entries));
    int num_free = problem.num_slots() - problem.min_replicas * problem.num_experts;
    num_held_back = std::min(num_held_back, num_free);
    for (; num_free > num_held_back; --num_free) {
        const int expert = -heap.top().second;
        heap.pop();
        if (++replica_count[expert] < most)
            heap.push(entry(expert));
    }
    std::vector<int> lightest(load.size());
    std::iota(lightest.begin(), lightest.end(), 0);
    std::stable_sort(lightest.begin(), lightest.end(),
                     [&](int left, int right) { return load[left] < load[right]; });
    while (num_free > 0)
        for (const int expert : lightest)
            if (num_free > 0 && replica_count[expert] < most) {
                ++replica_count[expert];
                --num_free;
            }
    return replica_count;
}

SlotTable pack_distinct(const PlacementProblem& problem,
                        std::span<const double> load,
                        std::span<const int> replica_count) {
    const auto share = [&](int expert) { return load[expert] / replica_count[expert]; };
    std::vector<int> experts(load.size());
    std::iota(experts.begin(), experts.end(), 0);
    std::stable_sort(experts.begin(), experts.end(),
                     [&](int left, int right) { return share(left) > share(right); });

    std::vector<std::vector<int>> ranks(problem.ep_size);
    std::vector<double> rank_load(problem.ep_size);
    const auto lightest_rank = [&](int expert, bool distinct) {
        int best = -1;
        double best_load = 0;
        for (int rank_id = 0; rank_id < problem.ep_size; ++rank_id) {
            const std::vector<int>& rank = ranks[rank_id];
            if (static_cast<int>(rank.size()) == problem.slots_per_rank)
                continue;
            // replicas of an expert follow each other: only the last one could be the same
            if (distinct && !rank.empty() && rank.back() == expert)
                continue;
            const double next = (rank_load[rank_id] + share(expert)) / problem.speed(rank_id);
            if (best < 0 || next < best_load) {
                best = rank_id;
                best_load = next;
            }
        }
        return best;
    };
    for (const int expert : experts)
        for (int i = 0; i < replica_count[expert]; ++i) {
            int rank_id = lightest_rank(expert, true);
            if (rank_id < 0)
                rank_id = lightest_rank(expert, false);
            assert(rank_id >= 0);
            ranks[rank_id].push_back(expert);
            rank_load[rank_id] += share(expert);
        }

    Placement placement{problem.ep_size, problem.slots_per_rank, {}};
    for (const std::vector<int>& rank : ranks)
        placement.expert_ids.insert(placement.expert_ids.end(), rank.begin(), rank.end());
    SlotTable table(std::move(placement), problem.num_experts);
    repair_duplicates(table);
    return table;
}

}  // namespace eplb
