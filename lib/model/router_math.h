#ifndef EPLB_MODEL_ROUTER_MATH_H
#define EPLB_MODEL_ROUTER_MATH_H

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "lib/base/host_device.h"
#include "lib/model/router.h"

// The arithmetic of a router, value by value, for the CPU and the GPU: plain fp32 operations whose
// bits depend on neither compiler nor vector width: no fused multiply-add, no library function but
// sqrt (and, for sqrtsoftplus, log1p).
namespace eplb {

// e^x, within 2 ulp for x in [-87, 88]; x is clamped to that range. Branch-free, so that loops over
// experts vectorize.
EPLB_HOST_DEVICE float exp_f32(float x) {
    constexpr float kLog2E = 1.44269504F;
    constexpr float kLn2High = 0.693359375F;  // few bits: n * kLn2High is exact
    constexpr float kLn2Low = -2.12194440e-4F;
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
    x = std::min(std::max(x, -87.0F), 88.0F);
    const float shifted = x * kLog2E + kRound;
    const float n = shifted - kRound;
    const float r = (x - n * kLn2High) - n * kLn2Low;
    // e^r = 1 + r + r^2 * p(r), minimax over |r| <= ln(2) / 2 (Cephes' expf)
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    const float exp_r = (p * (r * r) + r) + 1.0F;
    const std::int32_t exponent =
        std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
    return exp_r * std::bit_cast<float>((exponent + 127) << 23);
}

EPLB_HOST_DEVICE float sigmoid_f32(float x) {
    return 1.0F / (1.0F + exp_f32(-x));
}

EPLB_HOST_DEVICE float sqrtsoftplus_f32(float x) {
    return std::sqrt(std::max(x, 0.0F) + std::log1p(exp_f32(-std::fabs(x))));
}

// A logit's score. softmax is left as the logit: it orders the experts as softmax would, and
// weights need it only at the chosen ids.
EPLB_HOST_DEVICE float selection_score(ScoreFunction function, float logit) {
    switch (function) {
        case ScoreFunction::sigmoid:
            return sigmoid_f32(logit);
        case ScoreFunction::sqrtsoftplus:
            return sqrtsoftplus_f32(logit);
        case ScoreFunction::softmax:
        case ScoreFunction::none:
            break;
    }
    return logit;
}

// An integer that orders as scores do: integer maxima vectorize. -0 counts as +0.
EPLB_HOST_DEVICE std::int32_t selection_order(float score) {
    const auto bits = std::bit_cast<std::int32_t>(score + 0.0F);
    return bits ^ ((bits >> 31) & 0x7fffffff);
}
// The score again.
EPLB_HOST_DEVICE float score_of_order(std::int32_t order) {
    return std::bit_cast<float>(order ^ ((order >> 31) & 0x7fffffff));
}

// What a group is judged by, from the largest and the second largest of its scores.
EPLB_HOST_DEVICE float group_score(const RouterSpec& spec, float first, float second) {
    const bool alone = spec.num_groups == spec.num_experts;
    return spec.group_score == GroupScore::maximum || alone ? first : first + second;
}

// Whether group `other` of that score comes before group g.
EPLB_HOST_DEVICE bool comes_before(float other_score, int other, float score, int g) {
    return other_score > score || (other_score == score && other < g);
}

// A chosen expert's weight by softmax: maximum and sum are those of all logits or, where weights
// are normalized, sum is that of the chosen ones, which is the same once divided by their sum.
EPLB_HOST_DEVICE float softmax_weight(const RouterSpec& spec,
                                      float logit,
                                      float maximum,
                                      float sum) {
    return exp_f32(logit - maximum) / sum * spec.scale;
}

// By what the scores of the chosen experts are multiplied. Their sum starts with kNoScore, as
// DeepSeek-V3's gate has it.
constexpr float kNoScore = 1e-20F;
EPLB_HOST_DEVICE float weight_factor(const RouterSpec& spec, float sum) {
    return spec.normalize ? spec.scale / sum : spec.scale;
}

}  // namespace eplb

#endif
