#include "lib/report/load_summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace eplb {
namespace {

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
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> bins = load.iteration(i);
        const double sum = std::accumulate(bins.begin(), bins.end(), 0.0);
        if (sum == 0) {
            ++summary.num_empty_iterations;
            continue;
        }
        const Spread spread = measure(bins, sum);
        summary.mean += spread.mean;
        summary.std += spread.std;
        summary.imbalance_ratio += spread.imbalance_ratio;
        ++summary.num_iterations;
    }
    if (summary.num_iterations > 0) {
        summary.mean /= summary.num_iterations;
        summary.std /= summary.num_iterations;
        summary.imbalance_ratio /= summary.num_iterations;
    }
    return summary;
}

LoadSummary average(std::span<const LoadSummary> layers) {
    LoadSummary result;
    int num_layers = 0;
    for (const LoadSummary& layer : layers) {
        result.num_iterations += layer.num_iterations;
        result.num_empty_iterations += layer.num_empty_iterations;
        if (layer.num_iterations == 0)
            continue;
        result.mean += layer.mean;
        result.std += layer.std;
        result.imbalance_ratio += layer.imbalance_ratio;
        ++num_layers;
    }
    if (num_layers > 0) {
        result.mean /= num_layers;
        result.std /= num_layers;
        result.imbalance_ratio /= num_layers;
    }
    return result;
}

}  // namespace eplb
