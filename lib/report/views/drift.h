#ifndef EPLB_REPORT_VIEWS_DRIFT_H
#define EPLB_REPORT_VIEWS_DRIFT_H

#include <span>

#include "lib/base/parallel.h"
#include "lib/report/measured_subject.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"

namespace eplb {

// How alike two loads of the same experts are: 1 the same shares, 0 no expert in common. xLLM
// measures drift so, on loads divided by their maximum, which changes nothing. NaN without load.
double cosine_similarity(std::span<const double> a, std::span<const double> b);

// The Jensen-Shannon distance of their shares: the square root of
//     (KL(p || m) + KL(q || m)) / 2,  m = (p + q) / 2,  with logarithms to base 2
// (Endres and Schindelin 2003). 0 the same shares, 1 no expert in common. NaN without load.
double js_distance(std::span<const double> a, std::span<const double> b);

// Two recordings, and both under one config where there is one, over ranks.
struct DriftInput {
    const Subject* first = nullptr;
    const Subject* second = nullptr;
    const MeasuredSubject* first_projected = nullptr;  // null: no config
    const MeasuredSubject* second_projected = nullptr;
};

// A layer has drifted where js is above 2 * js_expected and above 0.05: twice what chance explains,
// and enough to matter.
constexpr double kDriftFactor = 2;
constexpr double kLeastDrift = 0.05;

// From the first recording to the second, a row per layer that both have; loads of experts summed
// over iterations.
//
//   cosine       cosine_similarity
//   js           js_distance
//   js_within    js_distance of the two halves of the first: blocks of block_length() iterations,
//                dealt in turn; NaN of a single block
//   js_expected  what that is for two recordings of these numbers of tokens: sampling noise in js
//                goes with sqrt(1 / tokens + 1 / tokens)
//   drifted      "yes" or ""
//   imbalance_ratio_1, imbalance_ratio_2   under the config, where there is one, over ranks
//
// Error: no experts are known (slot ids), other numbers of experts, no layer in common.
Table drift_table(const DriftInput& input, ThreadPool& threads);

}  // namespace eplb

#endif
