#include "lib/model/model_family.h"

#include "lib/base/error.h"

namespace eplb {
namespace {

ModelFamily deepseek_v3(const char* model_type) {
    return {.model_type = model_type,
            .shared = SharedExperts::count,
            .has_groups = true,
            .has_scale = true,
            .score_function = ScoreFunction::sigmoid,
            .group_score = GroupScore::top2_sum,
            .selection_bias = "gate.e_score_correction_bias",
            .attention = AttentionKind::latent,
            .interleaved_rotary = true};
}

const ModelFamily kFamilies[] = {
    deepseek_v3("deepseek_v3"),
    deepseek_v3("kimi_k2"),
    {.model_type = "deepseek_v2",
     .shared = SharedExperts::count,
     .has_groups = true,
     .has_scale = true,
     .attention = AttentionKind::latent,
     .interleaved_rotary = true},
    {.model_type = "qwen3_moe", .qk_norm = QkNorm::per_head, .slides_if_asked = true},
    {.model_type = "qwen2_moe",
     .shared = SharedExperts::gated,
     .shared_block = "shared_expert",
     .always_qkv_bias = true,
     .has_output_bias = false,
     .slides_if_asked = true},
    {.model_type = "mixtral",
     .expert_width = "intermediate_size",
     .has_norm_field = false,
     .block = "block_sparse_moe",
     .gate = "w1",
     .up = "w3",
     .down = "w2"},
    {.model_type = "olmoe", .expert_width = "intermediate_size", .qk_norm = QkNorm::whole_width},
    {.model_type = "glm4_moe",
     .shared = SharedExperts::count,
     .has_groups = true,
     .has_scale = true,
     .score_function = ScoreFunction::sigmoid,
     .group_score = GroupScore::top2_sum,
     .selection_bias = "gate.e_score_correction_bias",
     .qk_norm = QkNorm::per_head,
     .has_qk_norm_field = true,
     .has_output_bias = false},
    {.model_type = "minimax_m2",
     .expert_width = "intermediate_size",
     .has_norm_field = false,
     .score_function = ScoreFunction::sigmoid,
     .block = "block_sparse_moe",
     .selection_bias = "e_score_correction_bias",
     .gate = "w1",
     .up = "w3",
     .down = "w2",
     .qk_norm = QkNorm::whole_width},
    {.model_type = "gpt_oss",
     .expert_width = "intermediate_size",
     .has_norm_field = false,
     .has_logit_bias = true,
     .router = "router",
     .storage = ExpertStorage::fused_mxfp4,
     .activation = Activation::clamped_swiglu,
     .has_sinks = true,
     .slides_by_layer = true},
};

}  // namespace

std::span<const ModelFamily> model_families() {
    return kFamilies;
}

const ModelFamily& find_family(std::string_view model_type, const std::string& subject) {
    std::string known;
    for (const ModelFamily& family : kFamilies) {
        if (family.model_type == model_type)
            return family;
        known += (known.empty() ? "" : ", ") + std::string(family.model_type);
    }
    throw Error(subject + "model_type \"" + std::string(model_type) +
                "\" is none that this version knows: " + known);
}

}  // namespace eplb
