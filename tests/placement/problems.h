#ifndef EPLB_TESTS_PLACEMENT_PROBLEMS_H
#define EPLB_TESTS_PLACEMENT_PROBLEMS_H

#include <random>
#include <utility>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/problem/deployment.h"
#include "lib/placement/problem/placement_problem.h"
#include "lib/statistics/expert_statistics.h"

// Problems to place, and what tests recompute of their placements: from the definitions, by no code
// of the searches.
namespace eplb::test {

// The same numbers with every standard library.
class Random {
  public:
    explicit Random(unsigned seed) : generator_(seed) {}
    int between(int low, int high) {
        return low + static_cast<int>(generator_() % static_cast<unsigned>(high - low + 1));
    }
    // in (0, 1)
    double uniform() { return (static_cast<double>(generator_()) + 0.5) * 0x1p-32; }
    double normal();  // mean 0, variance 1
    template <typename T>
    void shuffle(std::vector<T>& values) {
        for (int i = static_cast<int>(values.size()) - 1; i > 0; --i)
            std::swap(values[i], values[between(0, i)]);
    }

  private:
    std::mt19937 generator_;
};

double sum_of(const std::vector<double>& values);

PlacementProblem make_problem(int ep_size, int slots_per_rank, std::vector<double> load);

// What the problem is placed on.
Deployment deployment_of(const PlacementProblem& problem, int num_nodes = 1, int num_groups = 1);

// [ep_size], from 0.5 to 1.5 before the mean is made 1
std::vector<double> random_speeds(Random& random, int ep_size);

// u^-exponent of uniform u: equal at 0, a heavy tail from 1 on
std::vector<double> skewed_loads(Random& random, int num_experts, double exponent);

// Problems small enough for exhaustive_optimum(): 3 to 6 experts, 2 to 4 ranks, 1 to 3 slots each.
enum class Kind { plain, speeds, two_replicas, ties, zeros };
PlacementProblem random_tiny_problem(Random& random, Kind kind);

// The mixture of the workloads as load, sums being ep_size; and a covariance of the experts, of few
// factors that move several together and of noise of their own, `noise` of the load in all.
void add_workloads(Random& random, int num_workloads, PlacementProblem& problem);
void add_covariance(Random& random, int num_factors, double noise, PlacementProblem& problem);

// [ep_size]: load / speed of the ranks
std::vector<double> loads_of_ranks(const PlacementProblem& problem,
                                   const std::vector<double>& expert_load,
                                   const Placement& placement);
double fullest_of(const PlacementProblem& problem, const Placement& placement);

// [num_experts]
std::vector<int> counts_of(const Placement& placement, int num_experts);

// Whether no rank holds an expert twice.
bool is_distinct(const Placement& placement);

// All counts zero, layers from 3 on, top_k 8.
ExpertStatistics make_statistics(int num_layers,
                                 int num_iterations,
                                 int num_sources,
                                 int num_experts);

}  // namespace eplb::test

#endif
