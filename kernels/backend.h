#ifndef EPLB_KERNELS_BACKEND_H
#define EPLB_KERNELS_BACKEND_H

#include <cstdint>
#include <span>

#include "lib/model/model_config.h"
#include "lib/model/router.h"

namespace eplb {

// The computation of an MoE layer, on one device. Matrices are row-major fp32.
//
// A token's results depend on that token alone: not on which tokens share a call, nor on their
// order, nor on the number of threads. Chunks, placements and devices therefore change no bit.
class Backend {
  public:
    virtual ~Backend() = default;

    struct RouterArguments {
        const RouterSpec* spec;
        int hidden_size;
        const float* norm;    // [hidden_size]
        const float* weight;  // [num_experts][hidden_size]
        const float* bias;    // [num_experts], null without has_bias
    };

    // normalized = RMSNorm(hidden) * norm; logits = normalized * weight^T; then select_experts().
    // hidden and normalized [num_tokens][hidden_size], expert_ids and weights [num_tokens][top_k].
    virtual void route(const RouterArguments& router,
                       int num_tokens,
                       const float* hidden,
                       float* normalized,
                       std::int32_t* expert_ids,
                       float* weights) = 0;

    // Experts' MLPs over rows grouped by slot: rows [slot_begin[s], slot_begin[s + 1]) go through
    // slot_weights[s] (layout: ExpertShape). Row r reads input row source_rows[r], or row r where
    // source_rows is null, and writes output row r; both have hidden_size columns.
    virtual void grouped_mlp(const ExpertShape& shape,
                             std::span<const float* const> slot_weights,
                             std::span<const std::int32_t> slot_begin,
                             const std::int32_t* source_rows,
                             const float* input,
                             float* output) = 0;

    // For i in [0, num_tokens), with t = tokens[i]: hidden[t] += sum over j of weights[t][j] *
    // expert_output[rows[i][j]], in the order of j, then + shared_output[i] unless that is null.
    // rows [num_tokens][top_k], weights [..][top_k], the others [..][hidden_size].
    virtual void combine(int num_tokens,
                         const std::int32_t* tokens,
                         int top_k,
                         int hidden_size,
                         const std::int32_t* rows,
                         const float* weights,
                         const float* expert_output,
                         const float* shared_output,
                         float* hidden) = 0;
};

}  // namespace eplb

#endif
