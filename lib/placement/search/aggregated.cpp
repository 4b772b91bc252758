#include "lib/placement/search/aggregated.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "lib/placement/search/balance_search.h"
#include "lib/placement/search/distinct_packing.h"

namespace eplb {
namespace {

// replicas that are given to other experts before all is packed anew
constexpr int kMostMoves = 3;

void kick_swap(BalanceSearch& search, RandomSequence& random) {
    const SlotTable& table = search.table();
    const int slot =
        search.fullest_rank() * table.slots_per_rank() + random.below(table.slots_per_rank());
    for (int attempt = 0; attempt < 8; ++attempt) {
        const int other = random.below(table.num_slots());
        if (table.rank_of(other) != table.rank_of(slot) && table.may_swap(slot, other)) {
            search.swap(slot, other);
            return;
        }
    }
}

void kick_replica(const PlacementProblem& problem, BalanceSearch& search, RandomSequence& random) {
    const SlotTable& table = search.table();
    for (int attempt = 0; attempt < 16; ++attempt) {
        const int slot = random.below(table.num_slots());
        if (table.replicas(table.expert(slot)) <= problem.min_replicas)
            continue;
        // the heaviest of a few
        int gains = -1;
        for (int i = 0; i < 4; ++i) {
            const int expert = table.expert(random.below(table.num_slots()));
            if (expert != table.expert(slot) && !table.hosts(table.rank_of(slot), expert) &&
                table.replicas(expert) < problem.max_replicas() &&
                (gains < 0 || search.share(expert) > search.share(gains)))
                gains = expert;
        }
        if (gains < 0)
            continue;
        search.move_replica(slot, gains);
        return;
    }
}

// Moves replicas between experts, and packs all anew: pairings that other counts need are out of
// reach of exchanges.
SlotTable repack(const PlacementProblem& problem, const SlotTable& table, RandomSequence& random) {
    std::vector<int> replica_count(table.replica_counts().begin(), table.replica_counts().end());
    const auto count = [&](int expert) -> int& { return replica_count[expert]; };
    const auto share = [&](int expert) { return problem.load[expert] / count(expert); };
    for (int moves = 1 + random.below(kMostMoves); moves > 0; --moves) {
        const int loses = table.expert(random.below(table.num_slots()));
        int gains = random.below(table.num_experts());
        if (random.below(2) == 0) {
            // the heaviest replica of a few
            const int other = random.below(table.num_experts());
            if (share(other) > share(gains))
                gains = other;
        }
        if (loses == gains || count(loses) <= problem.min_replicas ||
            count(gains) >= problem.max_replicas())
            continue;
        --count(loses);
        ++count(gains);
    }
    return pack_distinct(problem, problem.load, replica_count);
}

}  // namespace

SlotTable place_aggregated(const PlacementProblem& problem, const AggregatedOptions& options) {
    const double target = options.bound + options.tolerance;
    BalanceSearch best(problem,
                       pack_distinct(problem, problem.load, replicate(problem, problem.load, 0)));
    best.descend(target);
    double best_load = best.fullest_load();
    RandomSequence random(options.seed);
    BalanceSearch current = best;
    BalanceSearch trial = best;
    int num_in_vain = 0;
    const bool has_spare = problem.num_slots() > problem.num_experts * problem.min_replicas;
    for (int kick = 0; kick < options.num_kicks && best_load > target; ++kick) {
        const int kind = has_spare ? random.below(4) : 3;
        if (kind < 2) {
            trial = BalanceSearch(problem, repack(problem, current.table(), random));
        } else {
            trial = current;
            if (kind == 2)
                kick_replica(problem, trial, random);
            else
                kick_swap(trial, random);
            if (random.below(2) == 0)
                kick_swap(trial, random);
        }
        trial.descend(target);
        const double load = trial.fullest_load();
        num_in_vain = load < best_load ? 0 : num_in_vain + 1;
        // where nothing near the best is better: go on from twice its distance
        const double leeway = num_in_vain > problem.num_slots() ? best_load - options.bound : 0;
        if (load > best_load + leeway)
            continue;
        std::swap(current, trial);
        if (load <= best_load) {
            best_load = load;
            best = current;
        }
    }
    return best.table();
}

}  // namespace eplb
