#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/placement/search/risk_search.h"

// Which steps a descent takes.
namespace eplb {
namespace {

// steps that gain less than this share of Q are not worth taking
constexpr double kLeastRelativeGain = 1e-6;

constexpr double kLn2 = 0.69314718;  // rounded down
// more than single precision loses of exponents up to a thousand
constexpr double kRoundingOfExponents = 1e-3;
constexpr int kMaxSwapPasses = 10;
constexpr std::size_t kReplicaCandidates = 32;
constexpr int kMaxLimitSteps = 400;

}  // namespace

// The slots of one of two ranks whose expert the other rank lacks: of the first, where they leave
// it, and of the second, where they come to the first.
void RiskSearch::list_movable(int rank_id,
                              int other_rank,
                              bool leaves,
                              std::vector<Movable>& movable) const {
    movable.clear();
    const int from = leaves ? rank_id : other_rank;
    const int to = leaves ? other_rank : rank_id;
    const double scale = beta_ / problem_->speed(rank_id);
    const double other_scale = beta_ / problem_->speed(other_rank);
    const double sign = leaves ? -1 : 1;
    for (int i = 0; i < table_.slots_per_rank(); ++i) {
        const int slot = from * table_.slots_per_rank() + i;
        if (table_.hosts(to, table_.expert(slot)))
            continue;
        const int expert = table_.expert(slot);
        const double part = sign * inverse_count_[expert];
        Movable entry = {slot, inverse_count_[expert], 0, scale * part * average_load_[expert],
                         -other_scale * part * average_load_[expert]};
        if (covariance_ != nullptr) {
            entry.deviation = inverse_count_[expert] * deviation_[expert];
            entry.first += scale * scale * part * row_of(with_experts_, rank_id)[expert];
            entry.second -=
                other_scale * other_scale * part * row_of(with_experts_, other_rank)[expert];
        }
        movable.push_back(entry);
    }
}

// At the largest covariance that two of these deviations can have. In single precision and without
// a branch, so that compilers do several at once.
void RiskSearch::list_least_exponents(const Movable& leaves,
                                      double quadratic,
                                      double other_quadratic) {
    const auto first = static_cast<float>(leaves.first);
    const auto second = static_cast<float>(leaves.second);
    const auto deviation = static_cast<float>(leaves.deviation);
    const auto factor = static_cast<float>(quadratic);
    const auto other_factor = static_cast<float>(other_quadratic);
    constexpr auto kLog2 = static_cast<float>(kLn2);
    for (std::size_t i = 0; i < other_first_.size(); ++i) {
        const float difference = deviation - other_deviation_[i];
        const float spread = difference * difference;
        const float here = first + other_first_[i] + factor * spread;
        const float there = second + other_second_[i] + other_factor * spread;
        const float both = (here + there) / 2 + kLog2;
        const float fuller = here > there ? here : there;
        least_exponents_[i] = fuller > both ? fuller : both;
    }
}

bool RiskSearch::improve_pair(int rank_id, int other_rank) {
    const Rank& rank = ranks_[rank_id];
    const Rank& other = ranks_[other_rank];
    const double scale = beta_ / problem_->speed(rank_id);
    const double other_scale = beta_ / problem_->speed(other_rank);
    const double quadratic = scale * scale / 2;
    const double other_quadratic = other_scale * other_scale / 2;
    list_movable(rank_id, other_rank, true, movable_);
    list_movable(rank_id, other_rank, false, other_movable_);
    other_first_.clear();
    other_second_.clear();
    other_deviation_.clear();
    for (const Movable& comes : other_movable_) {
        other_first_.push_back(static_cast<float>(comes.first));
        other_second_.push_back(static_cast<float>(comes.second));
        other_deviation_.push_back(static_cast<float>(comes.deviation));
    }
    least_exponents_.resize(other_movable_.size());

    const double before = rank.penalty + other.penalty;
    double best = before - kLeastRelativeGain * std::abs(before);
    // A rank's penalty is at least exp() of the mean exponent over workloads (Jensen), and two add
    // up to twice that of their mean at least: most exchanges are out without an exp(). Prices of
    // sends are not in this.
    const bool can_skip = send_price_ == 0 && best > 0;
    double most = can_skip ? std::log(best) + kRoundingOfExponents : 0;
    const Movable* best_slot = nullptr;
    const Movable* best_other = nullptr;
    for (Movable& leaves : movable_) {
        leaves.first += scale * rank.average + quadratic * rank.variance - beta_ - offset_;
        leaves.second +=
            other_scale * other.average + other_quadratic * other.variance - beta_ - offset_;
        const int expert = table_.expert(leaves.slot);
        if (can_skip)
            list_least_exponents(leaves, quadratic, other_quadratic);
        for (std::size_t i = 0; i < other_movable_.size(); ++i) {
            if (can_skip && least_exponents_[i] > most)
                continue;
            const Movable& comes = other_movable_[i];
            const int other_expert = table_.expert(comes.slot);
            if (can_skip && covariance_ != nullptr) {
                const double spread =
                    leaves.deviation * leaves.deviation + comes.deviation * comes.deviation -
                    2 * leaves.share * comes.share * covariance_->at(expert, other_expert);
                const double here = leaves.first + comes.first + quadratic * spread;
                const double there = leaves.second + comes.second + other_quadratic * spread;
                if (std::max(std::max(here, there), (here + there) / 2 + kLn2) > most)
                    continue;
            }
            const double sum =
                penalty_after(rank_id,
                              {expert, -share(expert), other_expert, share(other_expert)}) +
                penalty_after(other_rank,
                              {expert, share(expert), other_expert, -share(other_expert)});
            if (sum < best) {
                best = sum;
                if (can_skip)
                    most = std::log(best) + kRoundingOfExponents;
                best_slot = &leaves;
                best_other = &comes;
            }
        }
    }
    if (best_slot == nullptr)
        return false;
    swap(best_slot->slot, best_other->slot);
    return true;
}

bool RiskSearch::swap_pass() {
    bool improved = false;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
        for (int other = rank_id + 1; other < table_.ep_size(); ++other) {
            int& looked_at = looked_at_[rank_id * ranks_.size() + other];
            if (looked_at >= std::max(changed_at_[rank_id], changed_at_[other]))
                continue;
            looked_at = time_;
            improved |= improve_pair(rank_id, other);
        }
    return improved;
}

bool RiskSearch::replica_pass() {
    std::vector<int> candidates(num_experts_);
    std::iota(candidates.begin(), candidates.end(), 0);
    const auto replica_load = [&](int expert) { return problem_->load[expert] * share(expert); };
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](int left, int right) { return replica_load(left) > replica_load(right); });
    candidates.resize(std::min(candidates.size(), kReplicaCandidates));
    std::vector<std::vector<int>> hosts(num_experts_);  // ranks, ascending
    const auto list_hosts = [&](int expert) {
        std::vector<int>& list = hosts[expert];
        list.clear();
        for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
            if (table_.hosts(rank_id, expert))
                list.push_back(rank_id);
    };
    for (int expert = 0; expert < table_.num_experts(); ++expert)
        list_hosts(expert);
    bool improved = false;
    for (int slot = 0; slot < table_.num_slots(); ++slot) {
        if (table_.replicas(table_.expert(slot)) <= problem_->min_replicas)
            continue;
        double total = 0;
        for (const Rank& rank : ranks_)
            total += rank.penalty;
        double best = kLeastRelativeGain * std::abs(total);
        int best_expert = -1;
        for (const int expert : candidates) {
            if (table_.hosts(table_.rank_of(slot), expert) ||
                table_.replicas(expert) >= problem_->max_replicas())
                continue;
            const double gain = replica_gain(slot, expert, hosts);
            if (gain > best) {
                best = gain;
                best_expert = expert;
            }
        }
        if (best_expert >= 0) {
            const int loser = table_.expert(slot);
            move_replica(slot, best_expert);
            list_hosts(loser);
            list_hosts(best_expert);
            improved = true;
        }
    }
    return improved;
}

void RiskSearch::descend(int max_rounds) {
    for (int round = 0; round < max_rounds; ++round) {
        for (int pass = 0; pass < kMaxSwapPasses && swap_pass(); ++pass) {
        }
        if (!replica_pass())
            return;
    }
    for (int pass = 0; pass < kMaxSwapPasses && swap_pass(); ++pass) {
    }
}

void RiskSearch::limit_fullest(double limit) {
    const int slots_per_rank = table_.slots_per_rank();
    for (int step = 0; step < kMaxLimitSteps; ++step) {
        const int fullest = fullest_rank();
        const double full = fullest_load();
        if (full <= limit)
            return;
        // at least a quarter of the way, or a step is not worth its price
        const double below = full - (full - limit) / 4;
        double best = 0;
        int best_slot = -1;
        int best_other = -1;
        for (int other = 0; other < table_.num_slots(); ++other) {
            const int rank_id = table_.rank_of(other);
            if (rank_id == fullest)
                continue;
            for (int i = 0; i < slots_per_rank; ++i) {
                const int slot = fullest * slots_per_rank + i;
                const int expert = table_.expert(slot);
                const int other_expert = table_.expert(other);
                const double difference = problem_->load[expert] * share(expert) -
                                          problem_->load[other_expert] * share(other_expert);
                if (difference <= 0 || full - difference / problem_->speed(fullest) >= below ||
                    (ranks_[rank_id].load + difference) / problem_->speed(rank_id) >= below ||
                    !table_.may_swap(slot, other))
                    continue;
                const double penalties =
                    penalty_after(fullest,
                                  {expert, -share(expert), other_expert, share(other_expert)}) +
                    penalty_after(rank_id,
                                  {expert, share(expert), other_expert, -share(other_expert)}) -
                    ranks_[rank_id].penalty;
                if (best_slot < 0 || penalties < best) {
                    best = penalties;
                    best_slot = slot;
                    best_other = other;
                }
            }
        }
        if (best_slot < 0)
            return;
        swap(best_slot, best_other);
    }
}

}  // namespace eplb
