#ifndef EPLB_MODEL_LAYER_WEIGHTS_H
#define EPLB_MODEL_LAYER_WEIGHTS_H

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/model/decoder_config.h"
#include "lib/model/model_config.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// The weights of a decoder layer: matrices are views of the checkpoint, vectors are decoded.
// What a family does not have stays empty.
struct AttentionWeights {
    std::vector<float> norm;  // of the hidden state, [hidden_size]
    WeightMatrix output;      // [hidden_size][num_heads * value_size]
    std::vector<float> output_bias;

    // grouped-query: [heads * key_size][hidden_size]
    WeightMatrix query;
    WeightMatrix key;
    WeightMatrix value;
    std::vector<float> query_bias;
    std::vector<float> key_bias;
    std::vector<float> value_bias;
    std::vector<float> query_norm;  // [key_size], or of the whole width
    std::vector<float> key_norm;
    std::vector<float> sinks;  // [num_heads]

    // latent; queries without q_lora_rank are `query`
    WeightMatrix query_down;   // [q_lora_rank][hidden_size]
    WeightMatrix query_up;     // [num_heads * key_size][q_lora_rank]
    WeightMatrix latent_down;  // [kv_lora_rank + rotary size][hidden_size]
    WeightMatrix latent_up;    // [num_heads * (key part + value_size)][kv_lora_rank]
    std::vector<float> query_down_bias;
    std::vector<float> latent_down_bias;
    std::vector<float> query_down_norm;  // [q_lora_rank]
    std::vector<float> latent_norm;      // [kv_lora_rank]
};

struct LayerWeights {
    AttentionWeights attention;       // without a norm: the layer has none
    RouterWeights router;             // of a layer without experts only the norm
    std::vector<float> logit_bias;    // [num_experts]
    bool routes_only = false;         // neither experts nor shared ones were asked for
    std::vector<MlpWeights> experts;  // those that were asked for
    bool has_dense = false;           // an MLP for every token: a dense layer's, or shared experts
    MlpWeights dense;
    WeightMatrix shared_gate;                       // [1][hidden_size]; data null without
    std::vector<std::vector<float>> expert_biases;  // what the experts' bias pointers point into
};

// Some of a layer's routed experts, ascending.
using ExpertIds = std::vector<int>;

ExpertIds all_experts(int num_experts);

// Where the tensors of a layer come from. Names are whole: "model.layers.3.mlp.gate.weight".
class TensorSource {
  public:
    virtual ~TensorSource() = default;
    // a vector, or a matrix that is never quantised, decoded
    virtual std::vector<float> values(const std::string& name, std::vector<int> shape) = 0;
    // of a linear layer: NAME, and where it is quantised its scales
    virtual WeightMatrix linear(const std::string& name, int num_rows, int num_columns) = 0;
    // of experts, slices of NAME_blocks and NAME_scales; one matrix each
    virtual std::vector<WeightMatrix> mxfp4_experts(const std::string& name,
                                                    int num_experts,
                                                    const ExpertIds& experts,
                                                    int num_rows,
                                                    int num_columns) = 0;
    // the table of token embeddings
    virtual WeightMatrix embedding(const std::string& name, int num_rows, int num_columns) = 0;
};

// One description of what a layer consists of, for loading, checking and counting alike.
// experts: which of the routed ones; without, the layer only routes and needs no shared ones
// either.
LayerWeights load_layer(const DecoderConfig& config,
                        int layer,
                        const std::optional<ExpertIds>& experts,
                        TensorSource& source);

// The memory that a layer's decoded vectors are in: what its matrices do not point into.
std::vector<std::span<const std::byte>> vector_parts(const LayerWeights& weights);

WeightMatrix load_embedding(const DecoderConfig& config, TensorSource& source);

}  // namespace eplb

#endif
