#include "lib/model/layer_weights.h"

#include <numeric>

namespace eplb {
namespace {

// makes the tensors' names of one layer
class LayerTensors {
  public:
    LayerTensors(int layer, TensorSource& source)
        : prefix_("model.layers." + std::to_string(layer) + "."), source_(source) {}

    std::string name(const std::string& suffix) const { return prefix_ + suffix; }
    std::vector<float> vector(const std::string& suffix, int size) const {
        return source_.values(name(suffix), {size});
    }
    std::vector<float> bias(bool is_there, const std::string& module, int size) const {
        return is_there ? vector(module + ".bias", size) : std::vector<float>();
    }
    std::vector<float> matrix(const std::string& suffix, int num_rows, int num_columns) const {
        return source_.values(name(suffix), {num_rows, num_columns});
    }
    WeightMatrix linear(const std::string& module, int num_rows, int num_columns) const {
        return source_.linear(name(module + ".weight"), num_rows, num_columns);
    }
    TensorSource& source() const { return source_; }

  private:
    std::string prefix_;
    TensorSource& source_;
};

void load_grouped_query(const AttentionConfig& config,
                        int hidden_size,
                        const LayerTensors& tensors,
                        AttentionWeights& weights) {
    const int query_width = config.num_heads * config.key_size;
    const int key_width = config.num_kv_heads * config.key_size;
    const int value_width = config.num_kv_heads * config.value_size;
    const bool has_bias = config.has_qkv_bias;
    weights.query = tensors.linear("self_attn.q_proj", query_width, hidden_size);
    weights.key = tensors.linear("self_attn.k_proj", key_width, hidden_size);
    weights.value = tensors.linear("self_attn.v_proj", value_width, hidden_size);
    weights.query_bias = tensors.bias(has_bias, "self_attn.q_proj", query_width);
    weights.key_bias = tensors.bias(has_bias, "self_attn.k_proj", key_width);
    weights.value_bias = tensors.bias(has_bias, "self_attn.v_proj", value_width);
    if (config.qk_norm == QkNorm::none)
        return;
    const bool whole = config.qk_norm == QkNorm::whole_width;
    weights.query_norm =
        tensors.vector("self_attn.q_norm.weight", whole ? query_width : config.key_size);
    weights.key_norm =
        tensors.vector("self_attn.k_norm.weight", whole ? key_width : config.key_size);
}

void load_latent(const AttentionConfig& config,
                 int hidden_size,
                 const LayerTensors& tensors,
                 AttentionWeights& weights) {
    const int query_width = config.num_heads * config.key_size;
    const int latent_width = config.kv_lora_rank + config.rotary.size;
    const int expanded = config.key_size - config.rotary.size + config.value_size;
    if (config.q_lora_rank == 0) {
        weights.query = tensors.linear("self_attn.q_proj", query_width, hidden_size);
    } else {
        weights.query_down = tensors.linear("self_attn.q_a_proj", config.q_lora_rank, hidden_size);
        weights.query_down_bias =
            tensors.bias(config.has_qkv_bias, "self_attn.q_a_proj", config.q_lora_rank);
        weights.query_down_norm =
            tensors.vector("self_attn.q_a_layernorm.weight", config.q_lora_rank);
        weights.query_up = tensors.linear("self_attn.q_b_proj", query_width, config.q_lora_rank);
    }
    weights.latent_down = tensors.linear("self_attn.kv_a_proj_with_mqa", latent_width, hidden_size);
    weights.latent_down_bias =
        tensors.bias(config.has_qkv_bias, "self_attn.kv_a_proj_with_mqa", latent_width);
    weights.latent_norm = tensors.vector("self_attn.kv_a_layernorm.weight", config.kv_lora_rank);
    weights.latent_up =
        tensors.linear("self_attn.kv_b_proj", config.num_heads * expanded, config.kv_lora_rank);
}

MlpWeights load_mlp(const ModelFamily& family,
                    const std::string& module,
                    int hidden_size,
                    int width,
                    const LayerTensors& tensors) {
    MlpWeights mlp;
    mlp.gate = tensors.linear(module + "." + family.gate, width, hidden_size);
    mlp.up = tensors.linear(module + "." + family.up, width, hidden_size);
    mlp.down = tensors.linear(module + "." + family.down, hidden_size, width);
    return mlp;
}

// gpt-oss: rows of gate and up in turn, biases [num_experts][…]
void load_fused_experts(const DecoderConfig& config,
                        const std::string& block,
                        const ExpertIds& experts,
                        const LayerTensors& tensors,
                        LayerWeights& weights) {
    const MoeModelConfig& moe = config.moe;
    const int num_experts = moe.router.num_experts;
    const int width = moe.intermediate_size;
    TensorSource& source = tensors.source();
    const std::string gate_up_name = tensors.name(block + ".experts.gate_up_proj");
    const std::string down_name = tensors.name(block + ".experts.down_proj");
    const std::vector<WeightMatrix> gate_up =
        source.mxfp4_experts(gate_up_name, num_experts, experts, 2 * width, moe.hidden_size);
    const std::vector<WeightMatrix> down =
        source.mxfp4_experts(down_name, num_experts, experts, moe.hidden_size, width);
    const std::vector<float> gate_up_bias =
        source.values(gate_up_name + "_bias", {num_experts, 2 * width});
    const std::vector<float> down_bias =
        source.values(down_name + "_bias", {num_experts, moe.hidden_size});
    for (std::size_t i = 0; i < gate_up.size(); ++i) {
        const auto e = static_cast<std::size_t>(experts[i]);
        MlpWeights mlp;
        mlp.activation = config.family->activation;
        mlp.limit = config.swiglu_limit;
        mlp.down = down[i];
        mlp.gate = mlp.up = gate_up[i];
        mlp.gate.num_rows = mlp.up.num_rows = width;
        mlp.gate.row_step = mlp.up.row_step = 2;
        mlp.up.first_row = 1;
        if (!gate_up_bias.empty()) {
            std::vector<float> biases;
            const auto size = static_cast<std::size_t>(width);
            for (std::size_t half = 0; half < 2; ++half)
                for (std::size_t output = 0; output < size; ++output)
                    biases.push_back(gate_up_bias[(e * size + output) * 2 + half]);
            const auto hidden = static_cast<std::ptrdiff_t>(moe.hidden_size);
            const auto first = down_bias.begin() + static_cast<std::ptrdiff_t>(e) * hidden;
            biases.insert(biases.end(), first, first + hidden);
            const float* const data = weights.expert_biases.emplace_back(std::move(biases)).data();
            mlp.gate_bias = data;
            mlp.up_bias = data + size;
            mlp.down_bias = data + 2 * size;
        }
        weights.experts.push_back(mlp);
    }
}

void load_experts(const DecoderConfig& config,
                  const ExpertIds& experts,
                  const LayerTensors& tensors,
                  LayerWeights& weights) {
    const ModelFamily& family = *config.family;
    const MoeModelConfig& moe = config.moe;
    const std::string block = family.block;
    if (family.storage == ExpertStorage::fused_mxfp4) {
        load_fused_experts(config, block, experts, tensors, weights);
    } else {
        for (const int e : experts)
            weights.experts.push_back(load_mlp(family, block + ".experts." + std::to_string(e),
                                               moe.hidden_size, moe.intermediate_size, tensors));
    }
    if (moe.shared_intermediate_size == 0)
        return;
    weights.has_dense = true;
    weights.dense = load_mlp(family, block + "." + family.shared_block, moe.hidden_size,
                             moe.shared_intermediate_size, tensors);
    if (family.shared == SharedExperts::gated)
        weights.shared_gate =
            tensors.linear(block + "." + family.shared_block + "_gate", 1, moe.hidden_size);
}

}  // namespace

ExpertIds all_experts(int num_experts) {
    ExpertIds experts(num_experts);
    std::iota(experts.begin(), experts.end(), 0);
    return experts;
}

LayerWeights load_layer(const DecoderConfig& config,
                        int layer,
                        const std::optional<ExpertIds>& experts,
                        TensorSource& source) {
    const ModelFamily& family = *config.family;
    const AttentionConfig& attention = config.attention;
    const MoeModelConfig& moe = config.moe;
    const int hidden_size = moe.hidden_size;
    const LayerTensors tensors(layer, source);

    LayerWeights weights;
    weights.attention.norm = tensors.vector("input_layernorm.weight", hidden_size);
    if (family.attention == AttentionKind::latent)
        load_latent(attention, hidden_size, tensors, weights.attention);
    else
        load_grouped_query(attention, hidden_size, tensors, weights.attention);
    if (family.has_sinks)
        weights.attention.sinks = tensors.vector("self_attn.sinks", attention.num_heads);
    weights.attention.output =
        tensors.linear("self_attn.o_proj", hidden_size, attention.num_heads * attention.value_size);
    weights.attention.output_bias =
        tensors.bias(attention.has_output_bias, "self_attn.o_proj", hidden_size);

    weights.router.norm = tensors.vector("post_attention_layernorm.weight", hidden_size);
    if (!config.is_moe_layer(layer)) {
        weights.has_dense = true;
        weights.dense =
            load_mlp(family, "mlp", hidden_size, config.dense_intermediate_size, tensors);
        return weights;
    }
    const std::string block = family.block;
    const std::string router = block + "." + family.router;
    weights.router.weight = tensors.matrix(router + ".weight", moe.router.num_experts, hidden_size);
    weights.logit_bias = tensors.bias(family.has_logit_bias, router, moe.router.num_experts);
    if (family.selection_bias != nullptr)
        weights.router.bias =
            tensors.vector(block + "." + family.selection_bias, moe.router.num_experts);
    weights.routes_only = !experts;
    if (experts)
        load_experts(config, *experts, tensors, weights);
    return weights;
}

std::vector<std::span<const std::byte>> vector_parts(const LayerWeights& weights) {
    const AttentionWeights& attention = weights.attention;
    std::vector<std::span<const std::byte>> parts;
    const auto add = [&](const std::vector<float>& values) {
        if (!values.empty())
            parts.push_back(std::as_bytes(std::span(values)));
    };
    for (const std::vector<float>* const values :
         {&attention.norm, &attention.output_bias, &attention.query_bias, &attention.key_bias,
          &attention.value_bias, &attention.query_norm, &attention.key_norm, &attention.sinks,
          &attention.query_down_bias, &attention.latent_down_bias, &attention.query_down_norm,
          &attention.latent_norm, &weights.router.norm, &weights.router.weight,
          &weights.router.bias, &weights.logit_bias})
        add(*values);
    for (const std::vector<float>& biases : weights.expert_biases)
        add(biases);
    return parts;
}

WeightMatrix load_embedding(const DecoderConfig& config, TensorSource& source) {
    return source.embedding("model.embed_tokens.weight", config.moe.vocab_size,
                            config.moe.hidden_size);
}

}  // namespace eplb
