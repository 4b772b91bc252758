#include "lib/placement/search/balance_search.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace eplb {

BalanceSearch::BalanceSearch(const PlacementProblem& problem, SlotTable table)
    : problem_(&problem),
      table_(std::move(table)),
      share_(problem.load.size()),
      rank_load_(problem.ep_size) {
    for (int expert = 0; expert < problem.num_experts; ++expert)
        set_share(expert);
    for (int slot = 0; slot < table_.num_slots(); ++slot)
        rank_load_[table_.rank_of(slot)] +=
            share(table_.expert(slot)) / problem.speed(table_.rank_of(slot));
}

void BalanceSearch::set_share(int expert) {
    share_[expert] = problem_->load[expert] / table_.replicas(expert);
}

int BalanceSearch::fullest_rank() const {
    return static_cast<int>(std::max_element(rank_load_.begin(), rank_load_.end()) -
                            rank_load_.begin());
}

void BalanceSearch::swap(int slot, int other) {
    const int rank_id = table_.rank_of(slot);
    const int other_rank = table_.rank_of(other);
    const double difference = share(table_.expert(slot)) - share(table_.expert(other));
    rank_load_[rank_id] -= difference / problem_->speed(rank_id);
    rank_load_[other_rank] += difference / problem_->speed(other_rank);
    table_.swap(slot, other);
}

void BalanceSearch::consider_single(int fullest, Exchange& best) const {
    const int slots_per_rank = table_.slots_per_rank();
    const double full = rank_load_[fullest];
    const double full_speed = problem_->speed(fullest);
    const int first = fullest * slots_per_rank;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        if (rank_id == fullest)
            continue;
        const double other_load = rank_load_[rank_id];
        const double other_speed = problem_->speed(rank_id);
        for (int other = rank_id * slots_per_rank; other < (rank_id + 1) * slots_per_rank;
             ++other) {
            const double other_share = share(table_.expert(other));
            for (int slot = first; slot < first + slots_per_rank; ++slot) {
                const double difference = share(table_.expert(slot)) - other_share;
                if (difference <= 0)
                    continue;
                const double fuller =
                    std::max(full - difference / full_speed, other_load + difference / other_speed);
                if (fuller < best.fuller && table_.may_swap(slot, other))
                    best = {fuller, {slot, -1}, {other, -1}};
            }
        }
    }
}

void BalanceSearch::list_pairs(int rank_id, std::vector<Pair>& pairs) const {
    const int slots_per_rank = table_.slots_per_rank();
    const int first = rank_id * slots_per_rank;
    pairs.clear();
    for (int slot = first; slot < first + slots_per_rank; ++slot)
        for (int next = slot + 1; next < first + slots_per_rank; ++next)
            pairs.push_back(
                {share(table_.expert(slot)) + share(table_.expert(next)), {slot, next}});
    std::sort(pairs.begin(), pairs.end(), [](const Pair& left, const Pair& right) {
        return std::tie(left.sum, left.slots[0], left.slots[1]) <
               std::tie(right.sum, right.slots[0], right.slots[1]);
    });
}

void BalanceSearch::consider_double(int fullest, Exchange& best) {
    const double full = rank_load_[fullest];
    const double full_speed = problem_->speed(fullest);
    list_pairs(fullest, pairs_);
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        const double other_load = rank_load_[rank_id];
        const double other_speed = problem_->speed(rank_id);
        if (rank_id == fullest || other_load >= best.fuller)
            continue;
        list_pairs(rank_id, other_pairs_);
        // the difference that would leave both equally full
        const double wanted = (full - other_load) / (1 / full_speed + 1 / other_speed);
        std::size_t begin = 0;
        for (const Pair& pair : pairs_) {
            // partners lighter by about what is wanted, on both sides of it
            while (begin < other_pairs_.size() && other_pairs_[begin].sum < pair.sum - wanted)
                ++begin;
            const std::size_t from = begin > 1 ? begin - 2 : 0;
            const std::size_t to = std::min(begin + 2, other_pairs_.size());
            for (std::size_t i = from; i < to; ++i) {
                const Pair& partner = other_pairs_[i];
                const double difference = pair.sum - partner.sum;
                const double fuller =
                    std::max(full - difference / full_speed, other_load + difference / other_speed);
                if (fuller >= best.fuller)
                    continue;
                const bool legal = table_.may_swap(pair.slots[0], partner.slots[0]) &&
                                   table_.may_swap(pair.slots[0], partner.slots[1]) &&
                                   table_.may_swap(pair.slots[1], partner.slots[0]) &&
                                   table_.may_swap(pair.slots[1], partner.slots[1]);
                if (legal)
                    best = {fuller,
                            {pair.slots[0], pair.slots[1]},
                            {partner.slots[0], partner.slots[1]}};
            }
        }
    }
}

void BalanceSearch::descend(double target) {
    while (true) {
        const int fullest = fullest_rank();
        const double full = rank_load_[fullest];
        if (full <= target)
            return;
        // steps that hardly help would go on for ever
        Exchange best;
        best.fuller = full - 1e-9 * full;
        consider_single(fullest, best);
        if (best.slots[0] < 0)
            consider_double(fullest, best);
        if (best.slots[0] < 0)
            return;
        swap(best.slots[0], best.others[0]);
        if (best.slots[1] >= 0)
            swap(best.slots[1], best.others[1]);
    }
}

}  // namespace eplb
