#include "lib/placement/plan/prediction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "lib/base/not_known.h"

namespace eplb {
namespace {

// of the blocks but one; npos: of all
double ratio_without(std::span<const PredictionBlock> blocks, std::size_t left_out) {
    double imbalance = 0;
    double baseline = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i)
        if (i != left_out) {
            imbalance += blocks[i].imbalance;
            baseline += blocks[i].baseline;
        }
    return imbalance / baseline;
}

double mean(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// around their mean, divisor n - 1
double variance(const std::vector<double>& values) {
    const double center = mean(values);
    double sum = 0;
    for (const double value : values)
        sum += (value - center) * (value - center);
    return values.size() > 1 ? sum / (static_cast<double>(values.size()) - 1) : 0;
}

}  // namespace

double student_t(std::size_t degrees) {
    constexpr std::array<double, 12> kQuantiles = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447,
                                                   2.365,  2.306, 2.262, 2.228, 2.201, 2.179};
    if (degrees <= kQuantiles.size())
        return kQuantiles[degrees - 1];
    // the expansion around the normal distribution's 1.960
    const auto n = static_cast<double>(degrees);
    return 1.960 + (2.37 + 2.82 / n) / n;
}

Prediction predict(std::span<const PredictionBlock> blocks) {
    Prediction prediction;
    double weight = 0;
    for (const PredictionBlock& block : blocks) {
        prediction.imbalance += block.imbalance;
        prediction.baseline += block.baseline;
        weight += block.weight;
    }
    prediction.imbalance /= weight;
    prediction.baseline /= weight;
    prediction.ratio = prediction.imbalance / prediction.baseline;
    prediction.ratio_low = prediction.ratio_high = kNotKnown;
    const auto num_blocks = static_cast<double>(blocks.size());
    if (blocks.size() < 2 || prediction.baseline == 0 || prediction.imbalance <= 0)
        return prediction;

    std::vector<double> logs;
    for (std::size_t i = 0; i < blocks.size(); ++i)
        logs.push_back(std::log(ratio_without(blocks, i)));
    const double error =
        std::sqrt(variance(logs) * (num_blocks - 1) * (num_blocks - 1) / num_blocks);
    const double margin = student_t(blocks.size() - 1) * error;
    prediction.ratio_low = prediction.ratio * std::exp(-margin);
    prediction.ratio_high = prediction.ratio * std::exp(margin);
    return prediction;
}

std::vector<bool> choose_challenger(const std::vector<std::vector<double>>& log_ratio) {
    std::vector<double> layers;  // mean over folds
    double fold_noise = 0;       // of a layer's mean
    for (const std::vector<double>& folds : log_ratio) {
        const double center = folds.empty() ? kNotKnown : mean(folds);
        if (!std::isfinite(center))
            continue;
        layers.push_back(center);
        fold_noise += variance(folds) / static_cast<double>(folds.size());
    }
    std::vector<bool> chosen(log_ratio.size(), false);
    if (layers.empty())
        return chosen;
    fold_noise /= static_cast<double>(layers.size());
    const double center = mean(layers);
    const double between = std::max(0.0, variance(layers) - fold_noise);
    const double trust = between > 0 ? between / (between + fold_noise) : 0;
    for (std::size_t i = 0; i < log_ratio.size(); ++i) {
        const double layer = log_ratio[i].empty() ? kNotKnown : mean(log_ratio[i]);
        const double estimate = std::isfinite(layer) ? center + trust * (layer - center) : center;
        chosen[i] = estimate < 0;
    }
    return chosen;
}

}  // namespace eplb
