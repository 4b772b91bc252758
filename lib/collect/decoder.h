#ifndef EPLB_COLLECT_DECODER_H
#define EPLB_COLLECT_DECODER_H

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "lib/collect/expert_parallel.h"
#include "lib/model/layer_weights.h"

namespace eplb {

// Consecutive tokens of one sequence, as rows of the hidden states.
struct SequencePiece {
    std::int32_t sequence = 0;
    std::int32_t first_position = 0;
    std::int32_t num_tokens = 0;
    std::int32_t first_row = 0;
};

// Keys and values of one layer, from the start of each sequence that is under way.
struct KeyValueCache {
    struct Sequence {
        std::vector<float> keys;    // [positions][num_kv_heads * key_size]
        std::vector<float> values;  // [positions][num_kv_heads * value_size]
    };
    std::vector<Sequence> sequences;  // [num_sequences]
};

// The forward pass of decoder layers, one at a time. Sources of the formulas: the families'
// reference code and transformers' modeling files, which tests compare with. Hidden states are
// [rows][hidden_size] and are changed in place.
class Decoder {
  public:
    struct Limits {
        int attention_tokens = 8192;  // under way at once, in attention and in experts; they bound
        int expert_tokens = 8192;     // the buffers and change no result
    };

    Decoder(const DecoderConfig& config, const Limits& limits, Backend& backend);

    void embed(const WeightMatrix& table,
               std::span<const std::int32_t> token_ids,
               std::vector<float>& hidden);

    // hidden += attention(norm(hidden)). Pieces of a sequence come in order. Where the cache is
    // not kept, a sequence's part of it is let go of after its last piece here.
    void attend(const AttentionWeights& weights,
                int layer,
                std::span<const SequencePiece> pieces,
                KeyValueCache& cache,
                bool keep_cache,
                float* hidden);

    // hidden += MLP(norm(hidden)), for a layer without experts.
    void dense(const LayerWeights& weights, int num_rows, float* hidden);

    // hidden += experts(norm(hidden)); weights without experts only route. expert_ids
    // [num_rows][top_k]; returns how many rows are near-ties.
    std::int64_t experts(const LayerWeights& weights,
                         int num_rows,
                         float* hidden,
                         std::int32_t* expert_ids);

    // A token whose choice of experts hangs on a smaller difference of scores may be routed either
    // way by another implementation.
    static constexpr float kNearTie = 1e-5F;

    // Asked between pieces of work; an Interrupted comes out of the call where it says yes.
    struct Interrupted {};
    void set_stop(std::function<bool()> stop) { stop_ = std::move(stop); }

  private:
    void attend_some(const AttentionWeights& weights,
                     int layer,
                     std::span<const SequencePiece> pieces,
                     KeyValueCache& cache,
                     float* hidden);
    void project_grouped_query(const AttentionWeights& weights, int num_rows);
    void project_latent(const AttentionWeights& weights, int num_rows);
    void rotate(int num_heads, int head_stride, int offset, std::int64_t row_stride, float* values);
    void normalize(const std::vector<float>& weight,
                   int num_rows,
                   const float* input,
                   float* output);
    template <typename Body>
    void for_chunks(int num_rows, const Body& body);
    void run_dense(const MlpWeights& mlp, int num_rows);
    void count_tokens(int num_rows);
    void check_stop() const;

    const DecoderConfig& config_;
    Limits limits_;
    Backend& backend_;
    std::function<bool()> stop_;

    // of the rows under way
    std::vector<std::int32_t> positions_;
    std::vector<float> normalized_;
    std::vector<float> queries_;
    std::vector<float> keys_;
    std::vector<float> values_;
    std::vector<float> latent_;
    std::vector<float> attended_;  // of latent attention first its expanded vectors
    std::vector<float> expert_weights_;
    std::vector<float> margins_;
    std::vector<std::int32_t> tokens_;
    DispatchPlan plan_;
    std::vector<float> expert_output_;
    std::vector<float> dense_output_;
    std::vector<float> shared_gate_;
};

}  // namespace eplb

#endif
