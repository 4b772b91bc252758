#include "lib/report/load_summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/placement/optimal_split.h"

namespace eplb {
namespace {

// Compensated (Neumaier): as if summed exactly and rounded once, nearly always.
class Sum {
  public:
    void add(double value) {
        const double next = sum_ + value;
        lost_ += std::abs(sum_) >= std::abs(value) ? (sum_ - next) + value : (value - next) + sum_;
        sum_ = next;
    }
    double mean(int count) const { return count > 0 ? (sum_ + lost_) / count : 0; }

  private:
    double sum_ = 0;
    double lost_ = 0;
};

struct Spread {
    double mean = 0;
    double std = 0;
    double imbalance_ratio = 0;
};

// Bins of one iteration; their sum is above 0.
Spread measure(std::span<const double> bins, double sum) {
    const auto num_bins = static_cast<double>(bins.size());
    Spread spread;
    spread.mean = sum / num_bins;
    if (bins.size() < 2)
        return spread;
    double squares = 0;
    for (const double load : bins)
        squares += (load - spread.mean) * (load - spread.mean);
    spread.std = std::sqrt(squares / (num_bins - 1));
    // in upstream's order of operations, so that the digits agree
    spread.imbalance_ratio = *std::max_element(bins.begin(), bins.end()) / spread.mean - 1;
    return spread;
}

}  // namespace

LoadSummary summarize(const LayerLoad& load) {
    LoadSummary summary;
    Sum mean;
    Sum std;
    Sum imbalance_ratio;
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> bins = load.iteration(i);
        const double sum = std::accumulate(bins.begin(), bins.end(), 0.0);
        if (sum == 0) {
            ++summary.num_empty_iterations;
            continue;
        }
        const Spread spread = measure(bins, sum);
        mean.add(spread.mean);
        std.add(spread.std);
        imbalance_ratio.add(spread.imbalance_ratio);
        ++summary.num_iterations;
    }
    summary.mean = mean.mean(summary.num_iterations);
    summary.std = std.mean(summary.num_iterations);
    summary.imbalance_ratio = imbalance_ratio.mean(summary.num_iterations);
    return summary;
}

double optimal_split_ratio(const LayerLoad& expert_load, const Placement& placement) {
    const std::vector<double> optimum = optimal_max_load(expert_load, placement);
    Sum ratio;
    int num_iterations = 0;
    for (int i = 0; i < expert_load.num_iterations; ++i) {
        const std::span<const double> load = expert_load.iteration(i);
        const double sum = std::accumulate(load.begin(), load.end(), 0.0);
        if (sum == 0)
            continue;
        ratio.add(optimum[static_cast<std::size_t>(i)] / (sum / placement.ep_size) - 1);
        ++num_iterations;
    }
    return ratio.mean(num_iterations);
}

LoadSummary average(std::span<const LoadSummary> layers) {
    LoadSummary result;
    Sum mean;
    Sum std;
    Sum imbalance_ratio;
    int num_layers = 0;
    for (const LoadSummary& layer : layers) {
        result.num_iterations += layer.num_iterations;
        result.num_empty_iterations += layer.num_empty_iterations;
        if (layer.num_iterations == 0)
            continue;
        mean.add(layer.mean);
        std.add(layer.std);
        imbalance_ratio.add(layer.imbalance_ratio);
        ++num_layers;
    }
    result.mean = mean.mean(num_layers);
    result.std = std.mean(num_layers);
    result.imbalance_ratio = imbalance_ratio.mean(num_layers);
    return result;
}

}  // namespace eplb
