#ifndef EPLB_MODEL_DECODER_CONFIG_H
#define EPLB_MODEL_DECODER_CONFIG_H

#include <filesystem>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/model/model_family.h"

namespace eplb {

// Rotary position embedding: angle = position * frequencies[pair]; cos and sin times `factor`.
struct RotaryConfig {
    int size = 0;                    // values of a head that are rotated
    std::vector<float> frequencies;  // [size / 2]
    float factor = 1;
    bool interleaved = false;  // pairs are neighbours, not half of `size` apart
};

struct AttentionConfig {
    int num_heads = 0;
    int num_kv_heads = 0;  // latent attention: num_heads, once expanded
    int key_size = 0;      // of a head's queries and keys
    int value_size = 0;
    float scale = 0;  // of the products of queries and keys
    RotaryConfig rotary;

    // latent attention
    int q_lora_rank = 0;  // 0: queries come straight from the hidden state
    int kv_lora_rank = 0;

    // grouped-query attention
    QkNorm qk_norm = QkNorm::none;
    bool has_qkv_bias = false;
    bool has_output_bias = false;
    float clip_qkv = 0;  // 0: none

    std::vector<int> sliding_window;  // [num_layers], 0: sees the whole sequence
};

// A decoder as its config.json describes it, as far as routing depends on it.
struct DecoderConfig {
    const ModelFamily* family = nullptr;
    MoeModelConfig moe;
    int num_layers = 0;
    int dense_intermediate_size = 0;  // of layers without experts; 0 if there are none
    float norm_epsilon = 0;
    float swiglu_limit = 0;
    AttentionConfig attention;
    // what linear layers are stored as, by torch_dtype and quantization_config: for plans before
    // there are weights. A checkpoint's tensors say it themselves.
    WeightType plain_type = WeightType::bf16;
    WeightType linear_type = WeightType::bf16;

    bool is_moe_layer(int layer) const;
    // Decoder layers that routing depends on: the last MoE layer's router needs no further one.
    int num_needed_layers() const { return moe.layers.back() + 1; }
};

// Reads FOLDER/config.json. Errors name the file and the field: an unknown model_type, a field that
// is missing or makes no sense, a quantisation or rope_type that is not known.
DecoderConfig read_decoder_config(const std::filesystem::path& folder);

}  // namespace eplb

#endif
