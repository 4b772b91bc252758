#ifndef EPLB_TESTS_BENCH_PLACEMENT_MEASURES_H
#define EPLB_TESTS_BENCH_PLACEMENT_MEASURES_H

#include <span>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/plan/planner.h"
#include "lib/statistics/expert_statistics.h"
#include "tests/bench/scenarios.h"

namespace eplb::bench {

struct Configuration {
    int ep_size = 0;
    int num_slots = 0;

    int slots_per_rank() const { return num_slots / ep_size; }
    std::string name() const;  // "36/288"
};

PlanRequest request_of(Algorithm algorithm, const Configuration& configuration);
std::string name_of(Scenario scenario);

Plan fit(const ExpertStatistics& statistics, const PlanRequest& request, ThreadPool& threads);
// Of several workloads, each of weight 1.
Plan fit(std::span<const ExpertStatistics* const> workloads,
         const PlanRequest& request,
         const PlanScope& scope,
         ThreadPool& threads);

// [layers]: mean imbalance of the iterations of `test` under the plan.
std::vector<double> outcome(const Plan& plan,
                            const ExpertStatistics& test,
                            ThreadPool& threads,
                            std::span<const double> rank_speed = {});

// Averaged over the layers.
double mean_outcome(const Plan& plan,
                    const ExpertStatistics& test,
                    ThreadPool& threads,
                    std::span<const double> rank_speed = {});

double worst_of(std::span<const double> values);

// Iterations [begin, end), as positions from 0.
ExpertStatistics iterations_of(const ExpertStatistics& statistics, int begin, int end);
// All as one iteration of one source.
ExpertStatistics summed(const ExpertStatistics& statistics);
// The same iterations, with the source ranks added up.
ExpertStatistics with_sources_summed(const ExpertStatistics& statistics);
// The first and the second half of the iterations.
ScenarioStatistics halves_of(const ExpertStatistics& statistics);

}  // namespace eplb::bench

#endif
