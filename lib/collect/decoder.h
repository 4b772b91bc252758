#ifndef EPLB_COLLECT_DECODER_H
#define EPLB_COLLECT_DECODER_H

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "kernels/held_weights.h"
#include "lib/collect/batch.h"
#include "lib/collect/expert_exchange.h"
#include "lib/model/layer_weights.h"

namespace eplb {

// Keys and values of one layer, from the start of each sequence that is under way; device memory.
struct KeyValueCache {
    struct Sequence {
        explicit Sequence(Backend& backend) : keys(backend), values(backend) {}
        std::int32_t num_positions = 0;
        DeviceBuffer<float> keys;    // [positions][num_kv_heads * key_size]
        DeviceBuffer<float> values;  // [positions][num_kv_heads * value_size]
    };
    KeyValueCache(int num_sequences, Backend& backend) {
        for (int s = 0; s < num_sequences; ++s)
            sequences.emplace_back(backend);
    }
    std::vector<Sequence> sequences;  // [num_sequences]
};

// The forward pass of decoder layers, one at a time. Sources of the formulas: the families'
// reference code and transformers' modeling files, which tests compare with. Hidden states are
// [rows][hidden_size], in device memory, and are changed in place. Weights in host memory must be
// held by the backend.
//
// With a communicator each device has tokens of its own, and some of a layer's experts.
class Decoder {
  public:
    struct Limits {
        int attention_tokens = 8192;  // under way at once, in attention and in experts; they bound
        int expert_tokens = 8192;     // the buffers and change no result
    };

    Decoder(const DecoderConfig& config,
            const Limits& limits,
            Backend& backend,
            Communicator* communicator = nullptr);

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

    // Chooses the experts of every row, which routed() then has; hidden stays as it is.
    void route(const LayerWeights& weights, int num_rows, const float* hidden);
    struct Routed {
        const DeviceBuffer<std::int32_t>& expert_ids;  // [num_rows][top_k]
        const DeviceBuffer<float>& margins;            // [num_rows], see selection_margin()
    };
    Routed routed() const { return {expert_ids_, margins_}; }

    // hidden += experts(norm(hidden)) of the rows routed last. place_ids: where the experts' rows
    // go, [num_rows][top_k], device memory. All devices call this at once; most_rows: the largest
    // num_rows among them. Waits for the device.
    void experts(const LayerWeights& weights,
                 const ExpertPlaces& places,
                 const std::int32_t* place_ids,
                 int num_rows,
                 int most_rows,
                 float* hidden);

    // What dispatch, experts and shared experts take, in bytes.
    std::size_t expert_buffer_bytes() const;

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
    void for_chunks(int num_rows, int most_rows, const Body& body);
    void run_dense(const MlpWeights& mlp, int num_rows);
    void append(const DeviceBuffer<float>& rows,
                std::int64_t first_row,
                int width,
                const SequencePiece& piece,
                DeviceBuffer<float>& to);
    void check_stop() const;

    const DecoderConfig& config_;
    Limits limits_;
    Backend& backend_;
    HeldWeights frequencies_;
    ExpertExchange exchange_;
    std::function<bool()> stop_;

    // of the rows under way
    std::vector<std::int32_t> positions_;
    DeviceBuffer<float> normalized_;
    DeviceBuffer<float> queries_;
    DeviceBuffer<float> keys_;
    DeviceBuffer<float> values_;
    DeviceBuffer<float> latent_;
    DeviceBuffer<float> attended_;  // of latent attention first its expanded vectors
    DeviceBuffer<std::int32_t> expert_ids_;
    DeviceBuffer<float> expert_weights_;
    DeviceBuffer<float> margins_;
    DeviceBuffer<float> dense_output_;
    DeviceBuffer<float> shared_gate_;
};

}  // namespace eplb

#endif
