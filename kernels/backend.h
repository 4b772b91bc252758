#ifndef EPLB_KERNELS_BACKEND_H
#define EPLB_KERNELS_BACKEND_H

#include <cstdint>
#include <span>

#include "lib/model/router.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// The computation of a decoder layer, on one device. Activations are row-major fp32, one row per
// token; weights are decoded to fp32 as they are used.
//
// A token's results depend on that token alone (and, in attention, on those before it in its
// sequence): not on which tokens share a call, nor on their order, nor on the number of threads.
// Chunks, placements and devices therefore change no bit.
class Backend {
  public:
    virtual ~Backend() = default;

    // output[i] = row token_ids[i] of the table [vocab_size][hidden_size].
    virtual void embed(const WeightMatrix& table,
                       std::span<const std::int32_t> token_ids,
                       float* output) = 0;

    // output[r] = input[r] / sqrt(mean(input[r]^2) + epsilon) * weight, rows of `size` values.
    // Rows start input_stride and output_stride values apart; input and output may be the same.
    struct NormArguments {
        const float* weight;  // [size]
        int size;
        float epsilon;
        std::int64_t input_stride;
        std::int64_t output_stride;
    };
    virtual void rms_norm(const NormArguments& norm,
                          std::int64_t num_rows,
                          const float* input,
                          float* output) = 0;

    // output [num_tokens][weight.num_rows] = input [num_tokens][weight.num_columns] * weight^T
    // + bias (unless null); with `add`, added to what output holds.
    virtual void linear(const WeightMatrix& weight,
                        const float* bias,
                        int num_tokens,
                        const float* input,
                        float* output,
                        bool add) = 0;

    // values = min(max(values, -limit), limit)
    virtual void clamp(float limit, std::int64_t num_values, float* values) = 0;

    // Rotary position embedding, in place, of one part of each head: a pair (a, b) of its
    // rotary_size values becomes (a cos - b sin, b cos + a sin) of the angle position *
    // frequencies[pair], an fp32 product; cos and sin are multiplied by `factor`. Pair i is values
    // (2i, 2i + 1) if interleaved, else (i, i + rotary_size / 2).
    struct RotaryArguments {
        const float* frequencies;  // [rotary_size / 2]
        int rotary_size;
        float factor;
        bool interleaved;
        int num_heads;
        int head_stride;  // values from one head to the next
        int offset;       // of the rotary part in a head
        std::int64_t row_stride;
    };
    // values: rows, one per position.
    virtual void rotate(const RotaryArguments& rotary,
                        std::span<const std::int32_t> positions,
                        float* values) = 0;

    struct AttentionArguments {
        int num_heads;
        int num_kv_heads;  // divides num_heads; head h reads key head h / (num_heads /
                           // num_kv_heads)
        int key_size;      // of one head, of queries too
        int value_size;
        float scale;         // of the products of queries and keys, before the softmax
        int sliding_window;  // a position sees itself and sliding_window - 1 before; 0: all
        const float* sinks;  // [num_heads], a logit that takes its share of the softmax; or null
    };
    // Consecutive positions of one sequence. The keys and values are those of the sequence from
    // its start.
    struct AttentionPiece {
        int first_position;
        int num_queries;
        const float* queries;  // [num_queries][num_heads][key_size]
        const float* keys;     // [first_position + num_queries][num_kv_heads][key_size]
        const float* values;   // [first_position + num_queries][num_kv_heads][value_size]
        float* output;         // [num_queries][num_heads][value_size]
    };
    // Causal softmax attention. How a sequence is cut into pieces changes no bit.
    virtual void attention(const AttentionArguments& attention,
                           std::span<const AttentionPiece> pieces) = 0;

    struct RouterArguments {
        const RouterSpec* spec;
        int hidden_size;
        const float* norm;        // [hidden_size]
        float epsilon;            // of the norm
        const float* weight;      // [num_experts][hidden_size]
        const float* logit_bias;  // [num_experts], added to the logits; or null
        const float* bias;        // [num_experts], of the selection; null without has_bias
    };

    // normalized = RMSNorm(hidden) * norm; logits = normalized * weight^T + logit_bias; then
    // select_experts(). hidden and normalized [num_tokens][hidden_size], expert_ids and weights
    // [num_tokens][top_k]; margins [num_tokens] (selection_margin()), or null.
    virtual void route(const RouterArguments& router,
                       int num_tokens,
                       const float* hidden,
                       float* normalized,
                       std::int32_t* expert_ids,
                       float* weights,
                       float* margins) = 0;

    // Experts' MLPs over rows grouped by slot: rows [slot_begin[s], slot_begin[s + 1]) go through
    // slot_weights[s]; all have the same sizes. Row r reads input row source_rows[r], or row r
    // where source_rows is null, and writes output row r; both have hidden_size columns.
    virtual void grouped_mlp(std::span<const MlpWeights> slot_weights,
                             std::span<const std::int32_t> slot_begin,
                             const std::int32_t* source_rows,
                             const float* input,
                             float* output) = 0;

    // For i in [0, num_tokens), with t = tokens[i]: hidden[t] += sum over j of weights[t][j] *
    // expert_output[rows[i][j]], in the order of j, then + shared_output[i], times
    // sigmoid(shared_gate[i]) unless that is null, unless shared_output is null.
    // rows [num_tokens][top_k], weights [..][top_k], shared_gate [num_tokens], the others
    // [..][hidden_size].
    struct CombineArguments {
        int top_k;
        int hidden_size;
        const std::int32_t* rows;
        const float* weights;
        const float* expert_output;
        const float* shared_output;
        const float* shared_gate;
    };
    virtual void combine(std::span<const std::int32_t> tokens,
                         const CombineArguments& arguments,
                         float* hidden) = 0;
};

}  // namespace eplb

#endif
