#ifndef EPLB_MODEL_MODEL_FAMILY_H
#define EPLB_MODEL_MODEL_FAMILY_H

#include <span>
#include <string>
#include <string_view>

#include "lib/model/router.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

enum class AttentionKind {
    grouped_query,  // q, k, v projections; several query heads per key head
    latent,  // DeepSeek's multi-head latent attention: keys and values from one latent vector
};

// RMSNorm of queries and keys, before the rotary embedding.
enum class QkNorm { none, per_head, whole_width };

enum class SharedExperts {
    none,
    count,  // n_shared_experts times the width of a routed one
    gated,  // one of shared_expert_intermediate_size, times the sigmoid of a linear gate
};

enum class ExpertStorage {
    per_expert,   // …experts.E.gate.weight, with the names below
    fused_mxfp4,  // …experts.gate_up_proj_blocks/_scales/_bias, gate and up in turn (gpt-oss)
};

// What is the same in all checkpoints of a model_type: which fields of config.json are read, how
// tensors are called and what the router and the attention do. A new family is a row of
// model_families(). Sources: published config.json files, tensor lists and reference code of the
// families, and Hugging Face transformers, which the tests compare with.
struct ModelFamily {
    const char* model_type = "";

    // config.json
    const char* expert_width = "moe_intermediate_size";  // the field's name
    SharedExperts shared = SharedExperts::none;
    bool has_groups = false;     // n_group, topk_group (and topk_method)
    bool has_norm_field = true;  // norm_topk_prob; else weights are always normalized
    bool has_scale = false;      // routed_scaling_factor

    // router
    ScoreFunction score_function = ScoreFunction::softmax;
    GroupScore group_score = GroupScore::maximum;
    bool has_logit_bias = false;

    // tensors, after model.layers.L.
    const char* block = "mlp";
    const char* router = "gate";           // BLOCK.ROUTER.weight
    const char* selection_bias = nullptr;  // BLOCK.SELECTION_BIAS, if there is one
    const char* gate = "gate_proj";
    const char* up = "up_proj";
    const char* down = "down_proj";
    const char* shared_block = "shared_experts";
    ExpertStorage storage = ExpertStorage::per_expert;
    Activation activation = Activation::swiglu;

    // attention
    AttentionKind attention = AttentionKind::grouped_query;
    QkNorm qk_norm = QkNorm::none;
    bool has_qk_norm_field = false;  // use_qk_norm decides
    bool always_qkv_bias = false;    // whatever attention_bias says
    bool has_output_bias = true;     // where attention_bias says so
    bool has_sinks = false;
    bool slides_if_asked = false;     // use_sliding_window must say so
    bool slides_by_layer = false;     // layer_types must be there
    bool interleaved_rotary = false;  // pairs are neighbours
};

std::span<const ModelFamily> model_families();

// Throws an Error that starts with `subject` and lists the families if there is none of that name.
const ModelFamily& find_family(std::string_view model_type, const std::string& subject);

}  // namespace eplb

#endif
