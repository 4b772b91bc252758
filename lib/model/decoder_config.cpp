#include "lib/model/decoder_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "lib/base/error.h"
#include "lib/model/model_shape.h"
#include "lib/model/stored_types.h"

namespace eplb {
namespace {

using nlohmann::json;

RouterSpec router_spec(const ConfigFields& fields,
                       const ModelFamily& family,
                       const ModelShape& shape) {
    RouterSpec router;
    router.score_function = family.score_function;
    router.group_score = family.group_score;
    router.num_experts = shape.num_experts;
    router.top_k = shape.top_k;
    router.has_bias = family.selection_bias != nullptr;
    router.normalize = family.has_norm_field ? fields.flag("norm_topk_prob") : true;
    router.scale =
        family.has_scale ? static_cast<float>(fields.positive_real("routed_scaling_factor")) : 1.0F;

    const char* const expected =
        family.score_function == ScoreFunction::sigmoid ? "sigmoid" : "softmax";
    if (const std::string name = fields.text_or("scoring_func", expected); name != expected)
        fields.fail("scoring_func",
                    "is \"" + name + "\" where " + family.model_type + " has \"" + expected + "\"");
    if (!fields.flag_or("use_routing_bias", true))
        fields.fail("use_routing_bias", "is false, which is not known of this family");
    const bool is_v2 = family.has_groups && family.score_function == ScoreFunction::softmax;
    const std::string method = fields.text_or("topk_method", is_v2 ? "" : "noaux_tc");
    if (family.has_groups && method != (is_v2 ? "group_limited_greedy" : "noaux_tc") &&
        !(is_v2 && method == "greedy"))
        fields.fail("topk_method",
                    method.empty() ? "is missing" : "is \"" + method + "\", which is not known");
    if (family.has_groups && method != "greedy") {
        router.num_groups = fields.size_or("n_group", 1);
        router.top_groups = fields.size_or("topk_group", 1);
        if (router.num_experts % router.num_groups != 0)
            fields.fail("n_group", "does not divide the experts");
        if (router.top_groups > router.num_groups)
            fields.fail("topk_group", "is more than there are groups");
        if (router.top_k > router.num_experts / router.num_groups * router.top_groups)
            fields.fail("num_experts_per_tok", "is more than the chosen groups hold");
    }
    // DeepSeek-V2's gate scales or normalizes; no published model normalizes
    if (is_v2 && router.normalize)
        fields.fail("norm_topk_prob",
                    "is true, which is not known of " + std::string(family.model_type));
    return router;
}

// sizes of matrices are ints
int fitting_product(const ConfigFields& fields, const char* field, std::int64_t a, std::int64_t b) {
    if (a * b > ConfigFields::kMostOfAnything)
        fields.fail(
            field, "makes a matrix of " + std::to_string(a * b) + " rows, more than any model has");
    return static_cast<int>(a * b);
}

int shared_width(const ConfigFields& fields, const ModelFamily& family, int expert_width) {
    switch (family.shared) {
        case SharedExperts::count:
            return fitting_product(fields, "n_shared_experts", fields.index("n_shared_experts"),
                                   expert_width);
        case SharedExperts::gated:
            return fields.size("shared_expert_intermediate_size");
        case SharedExperts::none:
            break;
    }
    return 0;
}

// rope_parameters (newer) or rope_scaling and rope_theta; also DeepSeek's mscale, which scales the
// softmax. Source: YaRN (arXiv 2309.00071) as transformers' modeling_rope_utils.py computes it.
void read_rotary(const ConfigFields& fields,
                 int head_size,
                 bool interleaved,
                 AttentionConfig& attention) {
    const char* const name = fields.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    const json* const found = fields.find(name);
    const json none = json::object();
    if (found != nullptr && !found->is_object())
        fields.fail(name, "is no object");
    const ConfigFields rope(found == nullptr ? none : *found, fields.where() + name + ": ");

    const double theta =
        rope.has("rope_theta") ? rope.real("rope_theta") : fields.real("rope_theta");
    if (theta <= 1)
        fields.fail("rope_theta", "must be above 1");
    double share =
        rope.real_or("partial_rotary_factor", fields.real_or("partial_rotary_factor", 1));
    if (share <= 0 || share > 1)
        fields.fail("partial_rotary_factor", "must be above 0, and 1 at most");
    RotaryConfig& rotary = attention.rotary;
    rotary.interleaved = fields.flag_or("rope_interleave", interleaved);
    rotary.size = fields.size_or("rotary_dim", static_cast<int>(head_size * share));
    if (rotary.size < 2 || rotary.size > head_size || rotary.size % 2 != 0)
        throw Error(fields.where() + "the rotary embedding takes " + std::to_string(rotary.size) +
                    " of " + std::to_string(head_size) +
                    " values of a head; it must be an even number of them");
    for (int i = 0; i < rotary.size; i += 2)
        rotary.frequencies.push_back(
            static_cast<float>(1 / std::pow(theta, static_cast<double>(i) / rotary.size)));

    const std::string type = rope.text_or("rope_type", rope.text_or("type", "default"));
    if (type == "default")
        return;
    if (type != "yarn")
        rope.fail("rope_type", "is \"" + type + "\"; default and yarn are known");
    const double factor = rope.positive_real("factor");
    const double original = rope.size("original_max_position_embeddings");
    const auto mscale = [&](double scale) {
        return factor <= 1 ? 1 : 0.1 * scale * std::log(factor) + 1;
    };
    const double numerator = rope.real_or("mscale", 0);
    const double denominator = rope.real_or("mscale_all_dim", 0);
    rotary.factor = static_cast<float>(rope.has("attention_factor") ? rope.real("attention_factor")
                                       : numerator != 0 && denominator != 0
                                           ? mscale(numerator) / mscale(denominator)
                                           : mscale(1));
    if (attention.kv_lora_rank > 0 && denominator != 0)
        attention.scale *= static_cast<float>(mscale(denominator) * mscale(denominator));

    // dimensions that turn often within the original length keep their frequency, those that turn
    // rarely are slowed down by the factor
    const auto dimension = [&](double turns) {
        return rotary.size * std::log(original / (turns * 2 * std::numbers::pi)) /
               (2 * std::log(theta));
    };
    double low = dimension(rope.real_or("beta_fast", 32));
    double high = dimension(rope.real_or("beta_slow", 1));
    if (rope.flag_or("truncate", true)) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, rotary.size - 1.0);
    if (low == high)
        high += 0.001;
    for (std::size_t i = 0; i < rotary.frequencies.size(); ++i) {
        const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        const double frequency = 1 / std::pow(theta, 2 * static_cast<double>(i) / rotary.size);
        rotary.frequencies[i] =
            static_cast<float>(frequency / factor * slowed + frequency * (1 - slowed));
    }
}

std::vector<int> sliding_windows(const ConfigFields& fields,
                                 const ModelFamily& family,
                                 int num_layers) {
    std::vector<int> windows(num_layers);
    if (!fields.flag_or("use_sliding_window", !family.slides_if_asked) ||
        !fields.has("sliding_window"))
        return windows;
    const int window = fields.size("sliding_window");
    const json* const types = fields.find("layer_types");
    if (types == nullptr) {
        if (family.slides_by_layer)
            fields.fail("layer_types", "is missing");
        if (fields.has("use_sliding_window"))
            fields.fail("use_sliding_window", "is true without a list \"layer_types\"");
        std::fill(windows.begin(), windows.end(), window);
        return windows;
    }
    if (!types->is_array() || types->size() != windows.size())
        fields.fail("layer_types", "is no list of an entry for each layer");
    for (std::size_t layer = 0; layer < windows.size(); ++layer) {
        const json& type = (*types)[layer];
        if (type != "sliding_attention" && type != "full_attention")
            fields.fail("layer_types", "holds " + type.dump() +
                                           "; sliding_attention and full_attention are known");
        if (type == "sliding_attention")
            windows[layer] = window;
    }
    return windows;
}

AttentionConfig attention_config(const ConfigFields& fields,
                                 const ModelFamily& family,
                                 int hidden_size,
                                 int num_layers) {
    AttentionConfig attention;
    attention.num_heads = fields.size("num_attention_heads");
    if (family.attention == AttentionKind::latent) {
        attention.num_kv_heads = attention.num_heads;
        attention.q_lora_rank = fields.index_or("q_lora_rank", 0);
        attention.kv_lora_rank = fields.size("kv_lora_rank");
        const int rotary_size = fields.size("qk_rope_head_dim");
        attention.key_size = fields.size("qk_nope_head_dim") + rotary_size;
        attention.value_size = fields.size("v_head_dim");
        attention.scale = 1 / std::sqrt(static_cast<float>(attention.key_size));
        read_rotary(fields, rotary_size, family.interleaved_rotary, attention);
    } else {
        attention.num_kv_heads = fields.size_or("num_key_value_heads", attention.num_heads);
        if (attention.num_heads % attention.num_kv_heads != 0)
            fields.fail("num_key_value_heads", "does not divide num_attention_heads");
        attention.key_size = fields.size_or("head_dim", hidden_size / attention.num_heads);
        attention.value_size = attention.key_size;
        attention.scale = 1 / std::sqrt(static_cast<float>(attention.key_size));
        const bool uses_norm = !family.has_qk_norm_field || fields.flag_or("use_qk_norm", false);
        attention.qk_norm = uses_norm ? family.qk_norm : QkNorm::none;
        if (!family.has_qk_norm_field && family.qk_norm != QkNorm::none &&
            !fields.flag_or("use_qk_norm", true))
            fields.fail("use_qk_norm", "is false, which is not known of this family");
        if (const std::string type = fields.text_or("qk_norm_type", "per_layer");
            type != "per_layer")
            fields.fail("qk_norm_type", "is \"" + type + "\"; per_layer is known");
        read_rotary(fields, attention.key_size, family.interleaved_rotary, attention);
    }
    fitting_product(fields, "num_attention_heads", attention.num_heads,
                    attention.key_size + attention.value_size);
    const bool has_bias = fields.flag_or("attention_bias", false);
    attention.has_qkv_bias = has_bias || family.always_qkv_bias;
    attention.has_output_bias = has_bias && family.has_output_bias;
    attention.clip_qkv = static_cast<float>(fields.real_or("clip_qkv", 0));
    attention.sliding_window = sliding_windows(fields, family, num_layers);
    return attention;
}

void read_types(const ConfigFields& fields, DecoderConfig& config) {
    config.plain_type = plain_weight_type(fields).value_or(WeightType::bf16);
    config.linear_type = config.plain_type;
    const bool is_mxfp4 = config.family->storage == ExpertStorage::fused_mxfp4;
    const std::optional<ConfigFields> quantization = quantization_fields(fields);
    if (!quantization) {
        if (is_mxfp4)
            fields.fail("quantization_config",
                        "is missing: gpt_oss is read as published, with MXFP4 experts");
        return;
    }
    const std::string method = quantization->text_or("quant_method", "");
    if (method != (is_mxfp4 ? "mxfp4" : "fp8"))
        quantization->fail("quant_method", "is \"" + method + "\"; known of " +
                                               config.family->model_type + " is " +
                                               (is_mxfp4 ? "mxfp4" : "fp8"));
    if (is_mxfp4)
        return;
    const json* const block = quantization->find("weight_block_size");
    const json expected = {WeightMatrix::kScaleBlock, WeightMatrix::kScaleBlock};
    if (block == nullptr || *block != expected)
        quantization->fail("weight_block_size", "must be " + expected.dump());
    config.linear_type = WeightType::f8_e4m3;
}

}  // namespace

bool DecoderConfig::is_moe_layer(int layer) const {
    return std::binary_search(moe.layers.begin(), moe.layers.end(), layer);
}

DecoderConfig read_decoder_config(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "config.json";
    if (!std::filesystem::exists(path))
        throw Error(folder.string() +
                    ": holds no config.json; name the folder of a Hugging Face checkpoint");
    const ModelJson model = ModelJson::read(path);
    const ConfigFields& fields = model.fields();

    DecoderConfig config;
    const std::string model_type = fields.text_or("model_type", "");
    if (model_type.empty())
        fields.fail("model_type", "is missing");
    const ModelFamily& family = find_family(model_type, fields.where());
    config.family = &family;
    const ModelShape shape = model_shape(model);
    config.num_layers = shape.num_hidden_layers;
    config.norm_epsilon = static_cast<float>(fields.positive_real("rms_norm_eps"));
    if (const std::string name = fields.text_or("hidden_act", "silu"); name != "silu")
        fields.fail("hidden_act", "is \"" + name + "\"; silu is known");
    config.swiglu_limit = static_cast<float>(fields.real_or("swiglu_limit", 7));

    MoeModelConfig& moe = config.moe;
    moe.name = model_type;
    moe.layers = shape.moe_layers;
    moe.router = router_spec(fields, family, shape);
    moe.hidden_size = fields.size("hidden_size");
    moe.intermediate_size = fields.size(family.expert_width);
    moe.shared_intermediate_size = shared_width(fields, family, moe.intermediate_size);
    moe.vocab_size = fields.size("vocab_size");
    if (moe.num_layers() < config.num_layers)
        config.dense_intermediate_size = fields.size("intermediate_size");
    config.attention = attention_config(fields, family, moe.hidden_size, config.num_layers);
    read_types(fields, config);
    if (family.storage == ExpertStorage::fused_mxfp4 &&
        (moe.hidden_size % WeightMatrix::kMxBlock != 0 ||
         moe.intermediate_size % WeightMatrix::kMxBlock != 0))
        throw Error(fields.where() + "sizes that MXFP4's blocks of 32 do not divide");
    return config;
}

}  // namespace eplb
