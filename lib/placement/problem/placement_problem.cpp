#include "lib/placement/problem/placement_problem.h"

#include <algorithm>
#include <numeric>

namespace eplb {

int PlacementProblem::max_replicas() const {
    return std::min(ep_size, num_slots() - min_replicas * (num_experts - 1));
}

double PlacementProblem::mean_load() const {
    const double capacity =
        rank_speed.empty() ? ep_size : std::accumulate(rank_speed.begin(), rank_speed.end(), 0.0);
    return std::accumulate(load.begin(), load.end(), 0.0) / capacity;
}

}  // namespace eplb
