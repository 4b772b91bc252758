#ifndef EPLB_PLACEMENT_PLAN_EVALUATION_H
#define EPLB_PLACEMENT_PLAN_EVALUATION_H

#include <span>
#include <vector>

#include "lib/base/sum.h"
#include "lib/placement/placement.h"
#include "lib/placement/plan/layer_samples.h"

namespace eplb {

// Imbalance of the ranks under a placement, max over ranks of load / speed against the mean, minus
// 1, each replica taking an equal share. rank_speed: [ep_size], or empty where all are alike.
double imbalance(std::span<const double> expert_load,
                 const Placement& placement,
                 std::span<const double> rank_speed);

// [end - begin], per iteration; NaN where it has no tokens.
std::vector<double> iteration_imbalance(const SampleRange& range,
                                        const Placement& placement,
                                        std::span<const double> rank_speed);

}  // namespace eplb

#endif
