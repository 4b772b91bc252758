#include "lib/placement/aggregated.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "lib/placement/balance_search.h"
#include "lib/placement/distinct_packing.h"

namespace eplb {
namespace {

void kick_swap(BalanceSearch& search, RandomSequence& random) {
    const SlotTable& table = search.table();
    const int slot = search.fullest_rank() * table.slots_per_rank() +
                     random.below(table.slots_per_rank());
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

}  // namespace

SlotTable place_aggregated(const PlacementProblem& problem, const AggregatedOptions& options) {
    const double target = options.bound + options.tolerance;
    BalanceSearch best(problem,
                       pack_distinct(problem, problem.load, replicate(problem, problem.load, 0)));
    best.descend(target);
    double best_load = best.fullest_load();
    RandomSequence random(options.seed);
    BalanceSearch trial = best;
    for (int kick = 0; kick < options.num_kicks && best_load > target; ++kick) {
        trial = best;
        if (random.below(2) == 0)
            kick_replica(problem, trial, random);
        else
            kick_swap(trial, random);
        if (random.below(2) == 0)
            kick_swap(trial, random);
        trial.descend(target);
        const double load = trial.fullest_load();
        if (load <= best_load) {
            best_load = load;
            std::swap(best, trial);
        }
    }
    return best.table();
}

}  // namespace eplb
