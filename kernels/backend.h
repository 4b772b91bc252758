#ifndef EPLB_KERNELS_BACKEND_H
#define EPLB_KERNELS_BACKEND_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/model/router.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// The computation of a decoder layer, on one device. Activations are row-major fp32, one row per
// token; weights are decoded as they are used.
//
// On the CPU a token's results depend on that token alone (and, in attention, on those before it in
// its sequence): not on which tokens share a call, nor on their order, nor on the number of
// threads. Chunks, placements and devices therefore change no bit. A GPU's matrix products may
// round otherwise for another number of rows.
//
// Three kinds of memory: *device* memory comes from allocate(); activations, ids and plans live
// there. *Weights* are named by their address in host memory, or are in device memory; what is in
// host memory must be held (hold_weights()) while it is used. *Host* arrays are spans, read before
// the call returns. On the CPU all three are the same.
//
// Calls return before a GPU has done the work; it is done in the order of the calls. download() and
// synchronize() wait. Errors of the device are an Error, at the latest there.
class Backend {
  public:
    virtual ~Backend() = default;

    // At least num_bytes, aligned to 256 bytes, not initialised. An Error says how much was asked
    // for where memory runs out.
    virtual void* allocate(std::size_t num_bytes) = 0;
    virtual void release(void* memory) noexcept = 0;
    virtual void upload(const void* host, std::size_t num_bytes, void* memory) = 0;
    virtual void download(const void* memory, std::size_t num_bytes, void* host) = 0;
    virtual void synchronize() = 0;
    // Where the host can read what memory holds, without a copy; null where it cannot.
    virtual const void* host_address(const void* /*memory*/) const { return nullptr; }

    // A download that does not wait: the bytes are there once a later download() or synchronize()
    // has returned. host is from allocate_host() and stays until then.
    virtual void start_download(const void* memory, std::size_t num_bytes, void* host) = 0;
    // Host memory that a device writes to by itself.
    virtual void* allocate_host(std::size_t num_bytes) = 0;
    virtual void release_host(void* memory) noexcept = 0;

    // Makes weights in host memory ready, in the background; they must stay as they are until they
    // are dropped. A call that uses them waits for them. Parts of the same address are one.
    using WeightParts = std::span<const std::span<const std::byte>>;
    virtual void hold_weights(WeightParts parts) = 0;
    virtual void drop_weights(WeightParts parts) = 0;

    // The device's time, by stages: what follows counts as this stage's, in [0, 16).
    virtual void begin_stage(int stage) = 0;
    virtual std::vector<double> stage_seconds() = 0;  // waits; of all stages up to the highest

    // Row r of `to` is row r of `from`: `size` values each, from_stride and to_stride values from
    // one row to the next. num_copies times, the copies copy_stride values apart in `to`.
    struct CopyArguments {
        std::int64_t num_rows;
        int size;
        std::int64_t from_stride;
        std::int64_t to_stride;
        int num_copies = 1;
        std::int64_t copy_stride = 0;
    };
    virtual void copy_rows(const CopyArguments& copy, const float* from, float* to) = 0;

    // Row r of `to` is row source_rows[r] of `from`; rows of row_bytes bytes, a multiple of 4.
    virtual void gather_rows(const std::int32_t* source_rows,
                             std::int64_t num_rows,
                             std::size_t row_bytes,
                             const void* from,
                             void* to) = 0;

    // Whether none of the values is infinite or NaN; waits.
    virtual bool all_finite(const float* values, std::int64_t num_values) = 0;

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

    // What route() writes, of each token; device memory.
    struct RoutedTokens {
        float* normalized;         // [num_tokens][hidden_size]
        std::int32_t* expert_ids;  // [num_tokens][top_k], best expert first
        float* weights;            // [num_tokens][top_k]
        float* margins = nullptr;  // [num_tokens], selection_margin(); or null
    };

    // normalized = RMSNorm(hidden) * norm; logits = normalized * weight^T + logit_bias; then
    // select_experts(). hidden [num_tokens][hidden_size].
    virtual void route(const RouterArguments& router,
                       int num_tokens,
                       const float* hidden,
                       const RoutedTokens& routed) = 0;

    // Which row of the expert buffers every (token, k) pair takes: rows are ordered by place, then
    // in the order of the pairs. A place is an expert's copy on a device: its id where there is one
    // device. All in device memory.
    struct DispatchArguments {
        int top_k;
        int num_places;
        int first_place;  // place ids are in [first_place, first_place + num_places)
        int num_tokens;
        const std::int32_t* place_ids;  // [num_tokens][top_k]
    };
    struct DispatchRows {
        std::int32_t* place_begin;  // [num_places + 1], rows of each place
        std::int32_t* rows;         // [num_tokens][top_k] -> row
        std::int32_t* source_rows;  // [row] -> token
        std::int32_t* row_places;   // [row] -> place id; or null
    };
    virtual void plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& rows) = 0;

    // Experts' MLPs over rows grouped by expert: rows [row_begin[e], row_begin[e + 1]) go through
    // experts[e]; all have the same sizes. Row r reads input row source_rows[r], or row r where
    // source_rows is null, and writes output row r; both have hidden_size columns. row_begin is
    // host memory: the sizes of the products.
    virtual void grouped_mlp(std::span<const MlpWeights> experts,
                             std::span<const std::int32_t> row_begin,
                             const std::int32_t* source_rows,
                             const float* input,
                             float* output) = 0;

    // For each token t: hidden[t] += sum over j of weights[t][j] * expert_output[rows[t][j]], in
    // the order of j, then + shared_output[t], times sigmoid(shared_gate[t]) unless that is null,
    // unless shared_output is null. rows and weights [num_tokens][top_k], shared_gate
    // [num_tokens], the others [..][hidden_size].
    struct CombineArguments {
        int top_k;
        int hidden_size;
        const std::int32_t* rows;
        const float* weights;
        const float* expert_output;
        const float* shared_output;
        const float* shared_gate;
    };
    virtual void combine(int num_tokens, const CombineArguments& arguments, float* hidden) = 0;
};

}  // namespace eplb

#endif
