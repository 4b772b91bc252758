#include "lib/placement/search/annealing.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "lib/base/random.h"

namespace eplb {
namespace {

constexpr int kStepsPerTemperature = 64;
constexpr int kRebuilds = 10;  // along the way: Q falls, and steps round
// of the sum of penalties: less than this is none
constexpr double kLeastGainOfExchange = 1e-7;
constexpr double kLeastGainOfSweep = 1e-5;

// Of two slots at random, the one on the rank that is worse off.
int hot_slot(const RiskSearch& search, RandomSequence& random) {
    const SlotTable& table = search.table();
    const int slot = random.below(table.num_slots());
    const int other = random.below(table.num_slots());
    return search.rank_penalty(table.rank_of(other)) > search.rank_penalty(table.rank_of(slot))
               ? other
               : slot;
}

void try_swap(RiskSearch& search, double least, RandomSequence& random) {
    const SlotTable& table = search.table();
    const int slot = hot_slot(search, random);
    const int other = random.below(table.num_slots());
    if (table.rank_of(slot) != table.rank_of(other) && table.may_swap(slot, other) &&
        search.swap_gain(slot, other, least) >= least)
        search.swap(slot, other);
}

void try_replica(RiskSearch& search, double least, RandomSequence& random) {
    const SlotTable& table = search.table();
    const int slot = random.below(table.num_slots());
    const int expert = table.expert(hot_slot(search, random));
    if (table.replicas(table.expert(slot)) > search.problem().min_replicas &&
        !table.hosts(table.rank_of(slot), expert) &&
        search.replica_gain(slot, expert, least) >= least)
        search.move_replica(slot, expert);
}

// What the best exchange between two ranks gained, which is made.
double exchange_best(RiskSearch& search, int rank_id, int other_id) {
    const SlotTable& table = search.table();
    const int slots_per_rank = table.slots_per_rank();
    double best = kLeastGainOfExchange;
    std::pair<int, int> best_slots = {-1, -1};
    for (int i = 0; i < slots_per_rank; ++i)
        for (int k = 0; k < slots_per_rank; ++k) {
            const int slot = rank_id * slots_per_rank + i;
            const int other = other_id * slots_per_rank + k;
            const double gain =
                table.may_swap(slot, other) ? search.swap_gain(slot, other, best) : 0;
            if (gain > best) {
                best = gain;
                best_slots = {slot, other};
            }
        }
    if (best_slots.first < 0)
        return 0;
    search.swap(best_slots.first, best_slots.second);
    return best;
}

}  // namespace

void anneal(RiskSearch& search, const Schedule& schedule) {
    const PlacementProblem& problem = search.problem();
    if (problem.ep_size < 2)
        return;
    const bool has_spare = problem.num_slots() > problem.num_experts * problem.min_replicas;
    const double replica_share = has_spare ? schedule.replica_share : 0;
    const double cooling = std::pow(schedule.last_temperature / schedule.first_temperature,
                                    static_cast<double>(kStepsPerTemperature) / schedule.num_steps);
    const int steps_per_rebuild = std::max(1, schedule.num_steps / kRebuilds);
    double temperature = schedule.first_temperature;
    RandomSequence random(schedule.seed);
    for (int step = 0; step < schedule.num_steps; ++step) {
        if (step % steps_per_rebuild == 0)
            search.rebuild();
        if (step % kStepsPerTemperature == 0)
            temperature *= cooling;
        const double least = temperature * std::log(random.uniform());
        if (random.uniform() <= replica_share)
            try_replica(search, least, random);
        else
            try_swap(search, least, random);
    }
    search.rebuild();
}

void descend(RiskSearch& search, int most_sweeps) {
    std::vector<int> ranks(search.table().ep_size());
    std::iota(ranks.begin(), ranks.end(), 0);
    double gain = 1;
    for (int sweep = 0; sweep < most_sweeps && gain > kLeastGainOfSweep; ++sweep) {
        std::stable_sort(ranks.begin(), ranks.end(), [&](int a, int b) {
            return search.rank_penalty(a) > search.rank_penalty(b);
        });
        gain = 0;
        for (std::size_t i = 0; i < ranks.size(); ++i)
            for (std::size_t k = i + 1; k < ranks.size(); ++k)
                gain += exchange_best(search, ranks[i], ranks[k]);
        search.rebuild();
    }
}

}  // namespace eplb
