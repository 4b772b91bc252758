#ifndef EPLB_PLACEMENT_SEARCH_NOISE_FLOOR_H
#define EPLB_PLACEMENT_SEARCH_NOISE_FLOOR_H

#include <span>
#include <vector>

#include "lib/placement/problem/placement_problem.h"

// What no placement can take away: tokens are drawn, so that loads differ by chance.
namespace eplb {

// Expected maximum of n independent standard normals, n >= 1:
// integral of x n Phi(x)^(n-1) phi(x) dx. 1.424 for 8, 2.118 for 36; 0 for 1.
double expected_maximum_of_normals(int n);

// Per-iteration imbalance (mean over iterations of max / mean - 1) that independent noise of the
// experts leaves to any placement that was fixed before: with R ranks,
//     expected_maximum_of_normals(R) * sqrt((1 / R) * min over r of sum of variance_e / r_e).
// An approximation (normal loads, the same variance on every rank), not a bound.
// variance: [num_experts], of an iteration's load of an expert, all its replicas together.
double noise_floor(const PlacementProblem& problem, std::span<const double> variance);

// [num_experts]: variance of an iteration's loads that drawing its ids alone explains,
// c (1 - top_k c / ep_size) / ids_per_rank: that of a binomial count of tokens, each of which takes
// an expert once at most. load: [num_experts], sums to ep_size. All 0 where ids_per_rank is.
std::vector<double> sampling_variance(std::span<const double> load,
                                      int ep_size,
                                      int top_k,
                                      double ids_per_rank);

}  // namespace eplb

#endif
