#ifndef EPLB_FORMATS_MODEL_SHAPE_H
#define EPLB_FORMATS_MODEL_SHAPE_H

#include <string>
#include <string_view>
#include <vector>

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

// From a model's config.json (Hugging Face's). Where the model is multimodal, its text_config (or
// language_config) counts. Which layers are MoE follows from whatever fields are there:
//   mlp_layer_types          a list, "dense" or else
//   first_k_dense_replace, moe_layer_freq (a number, or a list of 0 and 1)     DeepSeek, Kimi, GLM
//   mlp_only_layers, decoder_sparse_step                                       Qwen
//   moe_layers, interleave_moe_layer_step                                      Llama 4
//   num_dense_layers, the first that many are dense                            AFMoE, LFM2
//   moe_layer_num_skipped, the same                                            Hunyuan
// and is all layers where none of them is there (Mixtral, OLMoE, MiniMax, gpt-oss). Any other field
// whose name speaks of MoE or dense layers is an Error, never a guess.
ModelShape parse_model_shape(std::string_view text, const std::string& name);

// path: a config.json, or the folder of a checkpoint, which holds one.
ModelShape read_model_shape(const std::string& path);

}  // namespace eplb

#endif
