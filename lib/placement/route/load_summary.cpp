#include "lib/placement/route/load_summary.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>

#include "lib/base/sum.h"
#include "lib/placement/route/optimal_split.h"

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
    double balancedness = 1;
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
    const double max = *std::max_element(bins.begin(), bins.end());
    spread.imbalance_ratio = max / spread.mean - 1;
    spread.balancedness = spread.mean / max;
    return spread;
}

// The figures of LoadSummary that are means.
constexpr double LoadSummary::*kFigures[] = {
    &LoadSummary::mean,         &LoadSummary::std, &LoadSummary::imbalance_ratio,
    &LoadSummary::balancedness, &LoadSummary::p50, &LoadSummary::p90,
    &LoadSummary::p99,          &LoadSummary::max};

}  // namespace

double percentile(std::span<const double> sorted, double percent) {
    if (sorted.empty())
        return 0;
    const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    if (below + 1 >= sorted.size())
        return sorted.back();
    const double part = position - static_cast<double>(below);
    return sorted[below] + part * (sorted[below + 1] - sorted[below]);
}

LoadSummary summarize(const LayerLoad& load) {
    LoadSummary summary;
    Sum mean;
    Sum std;
    Sum imbalance_ratio;
    Sum balancedness;
    std::vector<double> ratios;
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> bins = load.iteration(i);
        const double sum = sum_of(bins);
        if (sum == 0) {
            ++summary.num_empty_iterations;
            continue;
        }
        const Spread spread = measure(bins, sum);
        mean.add(spread.mean);
        std.add(spread.std);
        imbalance_ratio.add(spread.imbalance_ratio);
        balancedness.add(spread.balancedness);
        ratios.push_back(spread.imbalance_ratio);
    }
    summary.num_iterations = static_cast<int>(ratios.size());
    summary.mean = mean.mean(summary.num_iterations);
    summary.std = std.mean(summary.num_iterations);
    summary.imbalance_ratio = imbalance_ratio.mean(summary.num_iterations);
    summary.balancedness = balancedness.mean(summary.num_iterations);
    std::sort(ratios.begin(), ratios.end());
    summary.p50 = percentile(ratios, 50);
    summary.p90 = percentile(ratios, 90);
    summary.p99 = percentile(ratios, 99);
    summary.max = ratios.empty() ? 0 : ratios.back();
    return summary;
}

std::vector<LoadSummary> recorded_summaries(const ExpertStatistics& statistics, int ep_size) {
    std::vector<LoadSummary> layers;
    layers.reserve(statistics.layers.size());
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        layers.push_back(summarize(recorded_rank_load(statistics, layer, ep_size)));
    return layers;
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
        ratio.add(optimum[i] / (sum / placement.ep_size) - 1);
        ++num_iterations;
    }
    return ratio.mean(num_iterations);
}

LoadSummary average(std::span<const LoadSummary> layers) {
    LoadSummary result;
    Sum sums[std::size(kFigures)];
    int num_layers = 0;
    for (const LoadSummary& layer : layers) {
        result.num_iterations += layer.num_iterations;
        result.num_empty_iterations += layer.num_empty_iterations;
        if (layer.num_iterations == 0)
            continue;
        for (std::size_t i = 0; i < std::size(kFigures); ++i)
            sums[i].add(layer.*kFigures[i]);
        ++num_layers;
    }
    for (std::size_t i = 0; i < std::size(kFigures); ++i)
        result.*kFigures[i] = sums[i].mean(num_layers);
    return result;
}

}  // namespace eplb
