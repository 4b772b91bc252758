#ifndef EPLB_MODEL_SELECT_EXPERTS_H
#define EPLB_MODEL_SELECT_EXPERTS_H

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "lib/model/router.h"
#include "lib/model/router_math.h"

// Selects experts, one token at a time.
namespace eplb {

// Space for select_experts(), one per thread.
struct SelectionScratch {
    static constexpr int kBlock = 32;

    explicit SelectionScratch(const RouterSpec& spec)
        : scores(static_cast<std::size_t>(spec.num_experts)),
          choice(scores.size()),
          group_scores(static_cast<std::size_t>(spec.num_groups)),
          keys((scores.size() + kBlock - 1) / kBlock * kBlock, kNone),
          block_best(keys.size() / kBlock) {}

    static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::min();

    std::vector<float> scores;             // [num_experts]
    std::vector<float> choice;             // [num_experts], scores + bias
    std::vector<float> group_scores;       // [num_groups]
    std::vector<std::int64_t> keys;        // [num_experts], padded with kNone to whole blocks
    std::vector<std::int64_t> block_best;  // [keys / kBlock], the largest key of each block
};

namespace detail {

// An integer that orders experts as their scores do, lower ids first on a tie. Integer maxima
// vectorize, and a key names its expert.
inline std::int64_t selection_key(float score, int expert) {
    return (static_cast<std::int64_t>(selection_order(score)) << 32) | (0x7fffffff - expert);
}

inline std::int64_t best_of_block(const std::int64_t* keys) {
    std::int64_t best = SelectionScratch::kNone;
    for (int i = 0; i < SelectionScratch::kBlock; ++i)
        best = std::max(best, keys[i]);
    return best;
}

// The k largest of scratch.keys, largest first. Each one found is taken out of its block, the only
// one whose best has to be found anew.
inline void take_top_k(SelectionScratch& scratch, int k, std::int32_t* expert_ids) {
    constexpr int kBlock = SelectionScratch::kBlock;
    for (std::size_t block = 0; block < scratch.block_best.size(); ++block)
        scratch.block_best[block] = best_of_block(scratch.keys.data() + block * kBlock);
    for (int j = 0; j < k; ++j) {
        const std::int64_t best =
            *std::max_element(scratch.block_best.begin(), scratch.block_best.end());
        const auto expert = static_cast<std::int32_t>(0x7fffffff - (best & 0x7fffffff));
        expert_ids[j] = expert;
        const auto block = static_cast<std::size_t>(expert / kBlock);
        scratch.keys[expert] = SelectionScratch::kNone;
        scratch.block_best[block] = best_of_block(scratch.keys.data() + block * kBlock);
    }
}

}  // namespace detail

// selection_score() of one token's logits, [num_experts] each.
inline void selection_scores(const RouterSpec& spec,
                             const float* __restrict logits,
                             float* __restrict scores) {
    const int num_experts = spec.num_experts;
    switch (spec.score_function) {
        case ScoreFunction::sigmoid:
            for (int e = 0; e < num_experts; ++e)
                scores[e] = sigmoid_f32(logits[e]);
            break;
        case ScoreFunction::sqrtsoftplus:
            for (int e = 0; e < num_experts; ++e)
                scores[e] = sqrtsoftplus_f32(logits[e]);
            break;
        case ScoreFunction::softmax:
        case ScoreFunction::none:
            std::copy_n(logits, num_experts, scores);
            break;
    }
}

namespace detail {

inline float score_of_group(const RouterSpec& spec, const float* choice, int group_size) {
    float first = -std::numeric_limits<float>::infinity();
    float second = first;
    for (int i = 0; i < group_size; ++i) {
        second = std::max(second, std::min(first, choice[i]));
        first = std::max(first, choice[i]);
    }
    return group_score(spec, first, second);
}

// whether fewer than `top` values come before values[i]: larger, or equal and earlier
inline bool is_among_best(const float* values, int n, int i, int top) {
    int ahead = 0;
    for (int j = 0; j < n; ++j)
        ahead += comes_before(values[j], j, values[i], i) ? 1 : 0;
    return ahead < top;
}

// softmax at the chosen ids
inline void softmax_weights(const RouterSpec& spec,
                            const float* logits,
                            const std::int32_t* expert_ids,
                            float* weights) {
    const float maximum = *std::max_element(logits, logits + spec.num_experts);
    float sum = 0;
    if (spec.normalize) {
        for (int j = 0; j < spec.top_k; ++j)
            sum += exp_f32(logits[expert_ids[j]] - maximum);
    } else {
        for (int e = 0; e < spec.num_experts; ++e)
            sum += exp_f32(logits[e] - maximum);
    }
    for (int j = 0; j < spec.top_k; ++j)
        weights[j] = softmax_weight(spec, logits[expert_ids[j]], maximum, sum);
}

// By how much a selection was decided, once take_top_k() has taken the chosen experts out: the last
// one chosen against the best one that was not, and with groups the last one kept against the best
// one dropped, whichever is closer.
inline float selection_margin(const RouterSpec& spec,
                              const float* choice,
                              const SelectionScratch& scratch,
                              std::int32_t last_expert) {
    float margin = std::numeric_limits<float>::infinity();
    const std::int64_t next =
        *std::max_element(scratch.block_best.begin(), scratch.block_best.end());
    if (next != SelectionScratch::kNone)
        margin = choice[last_expert] - choice[0x7fffffff - (next & 0x7fffffff)];
    if (spec.num_groups > spec.top_groups) {
        const float* const scores = scratch.group_scores.data();
        float kept = std::numeric_limits<float>::infinity();
        float dropped = -kept;
        for (int g = 0; g < spec.num_groups; ++g)
            if (is_among_best(scores, spec.num_groups, g, spec.top_groups))
                kept = std::min(kept, scores[g]);
            else
                dropped = std::max(dropped, scores[g]);
        margin = std::min(margin, kept - dropped);
    }
    return margin;
}

}  // namespace detail

// One token: logits and bias [num_experts] (bias unused without has_bias), expert_ids and weights
// [top_k], best expert first. margin, unless null: by how much the choice was decided, in units of
// what is ranked (logits for softmax, else score + bias); infinite where all were chosen.
inline void select_experts(const RouterSpec& spec,
                           const float* logits,
                           const float* bias,
                           SelectionScratch& scratch,
                           std::int32_t* expert_ids,
                           float* weights,
                           float* margin = nullptr) {
    const int num_experts = spec.num_experts;
    const float* const scores = scratch.scores.data();
    selection_scores(spec, logits, scratch.scores.data());
    const float* choice = scores;
    if (spec.has_bias) {
        for (int e = 0; e < num_experts; ++e)
            scratch.choice[e] = scores[e] + bias[e];
        choice = scratch.choice.data();
    }

    std::int64_t* const keys = scratch.keys.data();
    for (int e = 0; e < num_experts; ++e)
        keys[e] = detail::selection_key(choice[e], e);
    if (spec.num_groups > spec.top_groups) {
        const int group_size = num_experts / spec.num_groups;
        float* const group_scores = scratch.group_scores.data();
        for (int g = 0; g < spec.num_groups; ++g)
            group_scores[g] = detail::score_of_group(spec, choice + g * group_size, group_size);
        for (int g = 0; g < spec.num_groups; ++g)
            if (!detail::is_among_best(group_scores, spec.num_groups, g, spec.top_groups))
                std::fill_n(keys + g * group_size, group_size, SelectionScratch::kNone);
    }
    detail::take_top_k(scratch, spec.top_k, expert_ids);
    if (margin != nullptr)
        *margin = detail::selection_margin(spec, choice, scratch, expert_ids[spec.top_k - 1]);

    if (spec.score_function == ScoreFunction::softmax) {
        detail::softmax_weights(spec, logits, expert_ids, weights);
        return;
    }
    float sum = kNoScore;
    for (int j = 0; j < spec.top_k; ++j)
        sum += weights[j] = scores[expert_ids[j]];
    const float factor = weight_factor(spec, sum);
    for (int j = 0; j < spec.top_k; ++j)
        weights[j] *= factor;
}

}  // namespace eplb

#endif
