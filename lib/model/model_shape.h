#ifndef EPLB_MODEL_MODEL_SHAPE_H
#define EPLB_MODEL_MODEL_SHAPE_H

#include <vector>

#include "lib/model/model_json.h"

namespace eplb {

// What an EPLB config depends on of a model.
struct ModelShape {
    int num_experts = 0;          // routed ones, in each MoE layer
    int num_hidden_layers = 0;    // decoder layers, dense ones included, MTP layers not
    std::vector<int> moe_layers;  // ids of decoder layers that have experts, ascending; not empty
    int top_k = 0;                // experts per token, at most num_experts
    // Layers of multi-token prediction, which engines number from num_hidden_layers on; 0: none.
    int num_mtp_layers = 0;

    bool operator==(const ModelShape&) const = default;
};

// Which layers are MoE follows from whatever fields are there:
//   mlp_layer_types          a list, "dense" or else
//   first_k_dense_replace, moe_layer_freq (a number, or a list of 0 and 1)     DeepSeek, Kimi, GLM
//   mlp_only_layers, decoder_sparse_step                                       Qwen
//   moe_layers, interleave_moe_layer_step                                      Llama 4
//   num_dense_layers, the first that many are dense                            AFMoE, LFM2
//   moe_layer_num_skipped, the same                                            Hunyuan
// and is all layers where none of them is there (Mixtral, OLMoE, MiniMax, gpt-oss). Any other field
// whose name speaks of MoE or dense layers is an Error, never a guess.
ModelShape model_shape(const ModelJson& model);

}  // namespace eplb

#endif
