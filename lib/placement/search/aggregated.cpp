#include "lib/placement/search/aggregated.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/random.h"
#include "lib/placement/search/annealing.h"
#include "lib/placement/search/balance_search.h"
#include "lib/placement/search/distinct_packing.h"
#include "lib/placement/search/pairing.h"
#include "lib/placement/search/risk_search.h"

namespace eplb {
namespace {

// Annealing begins anew from the best so often: near it, farther away, and where ranks somewhat
// below the fullest count nearly as much.
struct Round {
    double temperature;
    double softness;  // of beta
};
constexpr Round kRounds[] = {{0.01, 1},        {0.04, 1},        {0.16, 1},       {0.64, 1},
                             {0.01, 1 / 16.0}, {0.1, 1 / 16.0},  {1, 1 / 8.0},    {10, 1 / 4.0},
                             {0.01, 1 / 16.0}, {0.03, 1 / 16.0}, {0.1, 1 / 16.0}, {0.3, 1 / 8.0},
                             {1, 1 / 8.0},     {3, 1 / 4.0},     {10, 1 / 4.0},   {0.16, 1}};
constexpr int kNumRounds = std::size(kRounds);
constexpr int kPairSteps = 5000;

// The summed load alone, as the one thing that may come.
PlacementProblem without_variance(const PlacementProblem& problem) {
    PlacementProblem sum = problem;
    sum.scenario_load = problem.load;
    sum.scenario_weight = {1};
    sum.ids_per_load = 0;
    sum.covariance = nullptr;
    sum.cooccurrence = nullptr;
    return sum;
}

SlotTable annealed(const PlacementProblem& sum,
                   SlotTable start,
                   const Round& round,
                   int num_steps,
                   std::uint64_t seed) {
    RiskSearch search(sum, std::move(start));
    search.set_beta(search.beta() * round.softness);
    anneal(search, {.num_steps = num_steps, .first_temperature = round.temperature, .seed = seed});
    return search.table();
}

}  // namespace

SlotTable place_aggregated(const PlacementProblem& problem, const AggregatedOptions& options) {
    const auto descended = [&](SlotTable table) {
        BalanceSearch search(problem, std::move(table));
        search.descend(options.target);
        return search;
    };
    const auto packed = [&](int num_held_back) {
        return descended(pack_distinct(problem, problem.load,
                                       replicate(problem, problem.load, 0, num_held_back)));
    };
    BalanceSearch best = packed(0);
    const auto keep_better = [&](BalanceSearch other) {
        if (other.fullest_load() < best.fullest_load())
            best = std::move(other);
    };
    const int num_spare = problem.num_slots() - problem.num_experts * problem.min_replicas;
    // nearly all of the first few, fewer and fewer of many
    for (int held_back = 1;
         held_back < std::min(num_spare, problem.ep_size) && best.fullest_load() > options.target;
         held_back += 1 + held_back / 8)
        keep_better(packed(held_back));
    if (num_spare > 0 && problem.slots_per_rank == 2 && problem.rank_speed.empty() &&
        best.fullest_load() > options.target)
        keep_better(descended(place_pairs(problem, kPairSteps, options.seed)));
    const PlacementProblem sum = without_variance(problem);
    for (int round = 0; round < kNumRounds && best.fullest_load() > options.target; ++round)
        keep_better(
            descended(annealed(sum, best.table(), kRounds[round], options.num_steps / kNumRounds,
                               combine_keys(options.seed, round))));
    return best.table();
}

}  // namespace eplb
