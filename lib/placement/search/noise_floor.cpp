#include "lib/placement/search/noise_floor.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

namespace eplb {
namespace {

// Min over replica counts of the sum of variance / count. Each slot's gain is smaller than that of
// the expert's one before, so the greatest gain first is exact.
double least_variance(const PlacementProblem& problem, std::span<const double> variance) {
    const int min_replicas = std::max(problem.min_replicas, 1);
    const auto gain = [&](std::size_t expert, int count) {
        return count < problem.max_replicas() ? variance[expert] / count / (count + 1) : 0.0;
    };
    std::vector<int> replica_count(variance.size(), min_replicas);
    std::priority_queue<std::pair<double, std::size_t>> gains;
    for (std::size_t expert = 0; expert < variance.size(); ++expert)
        gains.emplace(gain(expert, min_replicas), expert);
    const int num_used = min_replicas * static_cast<int>(variance.size());
    for (int slot = num_used; slot < problem.num_slots() && gains.top().first > 0; ++slot) {
        const std::size_t expert = gains.top().second;
        gains.pop();
        gains.emplace(gain(expert, ++replica_count[expert]), expert);
    }
    double sum = 0;
    for (std::size_t expert = 0; expert < variance.size(); ++expert)
        sum += variance[expert] / replica_count[expert];
    return sum;
}

}  // namespace

double expected_maximum_of_normals(int n) {
    if (n <= 1)
        return 0;
    // the trapezoidal rule converges faster than any power of the step on such integrands
    constexpr double kStep = 1.0 / 32;
    constexpr int kNumSteps = 12 * 32;
    const double pi = std::acos(-1.0);
    double sum = 0;
    for (int i = -kNumSteps; i <= kNumSteps; ++i) {
        const double x = i * kStep;
        const double density = std::exp(-x * x / 2) / std::sqrt(2 * pi);
        const double below = std::erfc(-x / std::sqrt(2.0)) / 2;
        sum += x * n * std::pow(below, n - 1) * density;
    }
    return sum * kStep;
}

double noise_floor(const PlacementProblem& problem, std::span<const double> variance) {
    return expected_maximum_of_normals(problem.ep_size) *
           std::sqrt(least_variance(problem, variance) / problem.ep_size);
}

std::vector<double> sampling_variance(std::span<const double> load,
                                      int ep_size,
                                      int top_k,
                                      double ids_per_rank) {
    // a token's top_k differ, but an expert in nearly all of them would seem to have no noise
    constexpr double kLeastOfBinomial = 0.03;
    std::vector<double> variance(load.size());
    if (ids_per_rank <= 0)
        return variance;
    for (std::size_t expert = 0; expert < load.size(); ++expert) {
        const double share_of_tokens = top_k * load[expert] / ep_size;
        variance[expert] =
            load[expert] * std::max(1 - share_of_tokens, kLeastOfBinomial) / ids_per_rank;
    }
    return variance;
}

}  // namespace eplb
