#ifndef EPLB_PLACEMENT_PLAN_LAYER_PLANNER_H
#define EPLB_PLACEMENT_PLAN_LAYER_PLANNER_H

#include <memory>
#include <span>
#include <vector>

#include "lib/placement/plan/layer_samples.h"
#include "lib/placement/plan/planner.h"
#include "lib/placement/search/placer.h"

namespace eplb {

// What one kind of cross-validation gave: each position is an iteration of a fold's test part, in
// the same order for all candidates and layers.
struct CrossValidation {
    struct Segment {  // the test part of one workload in one fold
        int fold = 0;
        int workload = 0;
        int begin = 0;  // positions
        int end = 0;
    };
    std::vector<Segment> segments;
    std::vector<std::vector<double>> imbalance;  // [candidates][positions], NaN without tokens
};

// Fits and tests the placements of one layer.
class LayerPlanner {
  public:
    // Candidates: the algorithms that there is a choice between, the first of which the layer is
    // said to be of, then greedy, against which all is held.
    LayerPlanner(std::span<const Workload> workloads,
                 int layer,
                 const PlanRequest& request,
                 std::vector<Algorithm> candidates);

    static PredictionBasis basis(std::span<const Workload> workloads);

    // Of candidate i, fitted to everything.
    const Placed& fit(std::size_t candidate);
    void improve(std::size_t candidate, int round);

    // Gives back what only a search needs; call when all fits are made.
    void release();

    // Halves of the iterations, both ways; for workloads of several.
    const CrossValidation& halves();
    // Each workload, fitted to all others.
    const CrossValidation& left_out();

    // [num_workloads]: mean imbalance of a candidate fitted to that workload alone: on the other
    // half of its iterations, or, where the basis is not iterations, on itself.
    std::vector<double> alone(std::size_t candidate);

    // Mean over all iterations of one workload.
    double imbalance_of(std::size_t workload, const Placement& placement) const;

    // Everything but the placement's choice: `candidate` was chosen.
    LayerPlan result(std::size_t candidate);

  private:
    std::vector<SampleRange> all() const;
    PlacementProblem problem_of(std::span<const SampleRange> ranges, Algorithm algorithm) const;
    PlacerOptions options_of(Algorithm algorithm) const;
    int slots_to_lift() const;
    std::vector<double> imbalances(std::span<const SampleRange> ranges,
                                   const Placement& placement) const;
    double worst_imbalance(const Placement& placement) const;  // of the workloads
    bool favours_worst(Algorithm algorithm, std::size_t num_workloads) const;
    // Gives weight to the workloads that fare worst, places again, and keeps what is best for the
    // worst of them.
    void favour_worst(std::vector<SampleRange> ranges, Algorithm algorithm, Placed& placed) const;
    Placed search(const PlacementProblem& problem,
                  Algorithm algorithm,
                  std::span<const SampleRange> ranges) const;
    Placement fit_to(std::size_t candidate, std::span<const SampleRange> ranges);
    Placed place_upstream(Algorithm algorithm, std::span<const SampleRange> ranges) const;
    void test(const std::vector<SampleRange>& train,
              const std::vector<SampleRange>& tests,
              const std::vector<int>& workloads,
              int fold,
              CrossValidation& into);

    std::span<const Workload> workloads_;
    int layer_;
    PlanRequest request_;
    Deployment deployment_;
    std::vector<Algorithm> candidates_;
    PredictionBasis basis_;
    std::vector<LayerSamples> samples_;  // [num_workloads]
    PlacementProblem problem_;           // fitted to everything
    std::vector<Placed> fits_;           // [candidates], empty where not asked for yet
    std::unique_ptr<CrossValidation> halves_;
    std::unique_ptr<CrossValidation> left_out_;
};

}  // namespace eplb

#endif
