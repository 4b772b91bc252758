#ifndef EPLB_PLACEMENT_SEARCH_ANNEALING_H
#define EPLB_PLACEMENT_SEARCH_ANNEALING_H

#include <cstdint>

#include "lib/placement/search/risk_search.h"

namespace eplb {

struct Schedule {
    int num_steps = 0;
    double first_temperature = 1e-2;  // in units of the sum of penalties
    double last_temperature = 1e-4;
    double replica_share = 0.3;  // of steps that give a replica to another expert; the others
                                 // exchange two slots
    std::uint64_t seed = 0;
};

// Lowers the penalties of a search by steps at random, of which ever fewer bad ones are taken.
// Deterministic.
void anneal(RiskSearch& search, const Schedule& schedule);

// Takes, pair of ranks by pair, the exchange that lowers the penalties most, until a sweep over all
// pairs brings next to nothing, or so many are done.
void descend(RiskSearch& search, int most_sweeps);

}  // namespace eplb

#endif
