#include "lib/placement/placement_problem.h"

#include <algorithm>

namespace eplb {

int PlacementProblem::max_replicas() const {
    return std::min(ep_size, num_slots() - min_replicas * (num_experts - 1));
}

}  // namespace eplb
