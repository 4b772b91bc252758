#ifndef EPLB_PLACEMENT_LAYER_SAMPLES_H
#define EPLB_PLACEMENT_LAYER_SAMPLES_H

#include <span>
#include <vector>

#include "lib/placement/placement_problem.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// A part of a recording that a placement is fitted to or measured on: iterations [begin, end), as
// positions from 0. All that are used together have the same experts, top_k and layers.
struct Workload {
    const ExpertStatistics* statistics = nullptr;
    int begin = 0;
    int end = 0;
    double weight = 1;  // against the others

    int num_iterations() const { return end - begin; }
};

// The whole of it.
Workload whole(const ExpertStatistics& statistics, double weight = 1);

// What to place the experts on.
struct Deployment {
    int ep_size = 0;
    int num_slots = 0;
    int min_replicas = 1;
    std::vector<double> rank_speed;  // [ep_size], any positive unit; empty: all alike

    int slots_per_rank() const { return num_slots / ep_size; }
};

// The problem of one layer, a position in the statistics' layers. Workloads without tokens in the
// layer are left out; where none has any, all loads are 0 and there are no workloads.
//
// The covariance pools, by weight, that of each workload with two or more iterations or source
// ranks. It blends two estimates: the sample covariance over iterations, which sees drift but is
// poor where iterations are few; and that over the source ranks within each iteration, scaled to
// their sum: a token's experts go together whatever the iteration, and there are ep_size times more
// of these samples. With one source rank only the diagonal of the second is known, by a model
// (binomial sampling, scaled to the variance seen). The blend's weights were found on real routes:
// docs/placement.md.
PlacementProblem make_problem(std::span<const Workload> workloads,
                              int layer,
                              const Deployment& deployment);

}  // namespace eplb

#endif
