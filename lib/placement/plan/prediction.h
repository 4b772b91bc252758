#ifndef EPLB_PLACEMENT_PLAN_PREDICTION_H
#define EPLB_PLACEMENT_PLAN_PREDICTION_H

#include <cstddef>
#include <span>
#include <vector>

namespace eplb {

// Student's t: 97.5 % of the distribution with so many degrees of freedom (>= 1) lie below. From a
// table up to 12, then by the expansion around the normal distribution, to 0.002.
double student_t(std::size_t degrees);

// What a placement will do on data that it was not fitted to, beside a baseline: means of
// per-iteration imbalance, all measured where they were not fitted.
struct Prediction {
    double imbalance = 0;
    double baseline = 0;

    // imbalance / baseline, and where it lies with 95 % certainty if later iterations are like
    // these: it cannot tell of traffic that nobody recorded. NaN where there is one block.
    double ratio = 0;
    double ratio_low = 0;
    double ratio_high = 0;
};

// From blocks, each what one stretch of iterations (or one workload) gave: sums, and their weight.
// The interval is the delete-one jackknife's of ln(ratio), with Student's t: blocks, not
// iterations, because neighbours are alike.
struct PredictionBlock {
    double imbalance = 0;
    double baseline = 0;
    double weight = 0;
};
Prediction predict(std::span<const PredictionBlock> blocks);

// Whether a challenger is better than a champion, layer by layer, from tests that are noisy.
// log_ratio: [num_layers][num_folds], ln(challenger / champion) on data not fitted to; not finite
// where unknown. Layers lend each other strength: each is drawn towards the mean of all, the more
// the less the layers differ beyond what their folds do (James-Stein).
std::vector<bool> choose_challenger(const std::vector<std::vector<double>>& log_ratio);

}  // namespace eplb

#endif
