#include "lib/model/cost.h"

#include <algorithm>

#include "lib/model/tensor_sources.h"

namespace eplb {
namespace {

// weights that a token is multiplied with in attention's projections
double attention_weights(const DecoderConfig& config) {
    const AttentionConfig& attention = config.attention;
    const double hidden = config.moe.hidden_size;
    const double query_width = static_cast<double>(attention.num_heads) * attention.key_size;
    const double output_width = static_cast<double>(attention.num_heads) * attention.value_size;
    if (config.family->attention == AttentionKind::grouped_query)
        return hidden * (query_width + output_width +
                         static_cast<double>(attention.num_kv_heads) *
                             (attention.key_size + attention.value_size));
    const double query = attention.q_lora_rank == 0
                             ? hidden * query_width
                             : attention.q_lora_rank * (hidden + query_width);
    const double expanded = static_cast<double>(attention.num_heads) *
                            (attention.key_size - attention.rotary.size + attention.value_size);
    return query + hidden * (attention.kv_lora_rank + attention.rotary.size) +
           attention.kv_lora_rank * expanded + hidden * output_width;
}

// pairs of positions that see each other
double causal_pairs(double length, double window) {
    if (window == 0 || length <= window)
        return length * (length + 1) / 2;
    return window * (window + 1) / 2 + (length - window) * window;
}

}  // namespace

CheckpointSize checkpoint_size(const DecoderConfig& config) {
    const ExpertIds all = all_experts(config.moe.router.num_experts);
    PlannedTensors tensors(config);
    load_embedding(config, tensors);
    for (int layer = 0; layer < config.num_layers; ++layer)
        load_layer(config, layer, all, tensors);
    return {tensors.num_weights(), tensors.num_bytes()};
}

Cost plan_cost(const DecoderConfig& config, std::span<const std::int64_t> sequence_lengths) {
    const MoeModelConfig& moe = config.moe;
    const double hidden = moe.hidden_size;
    Cost cost;
    for (const std::int64_t length : sequence_lengths)
        cost.num_tokens += static_cast<double>(length);
    cost.hidden_bytes = cost.num_tokens * hidden * 4;

    PlannedTensors embedding(config);
    load_embedding(config, embedding);
    cost.read_bytes = embedding.num_bytes();

    double before = 0;
    for (int layer = 0; layer < config.num_needed_layers(); ++layer) {
        const bool is_moe = config.is_moe_layer(layer);
        const bool with_experts = layer != moe.layers.back();
        PlannedTensors tensors(config);
        if (with_experts)
            load_layer(config, layer, all_experts(moe.router.num_experts), tensors);
        else
            load_layer(config, layer, std::nullopt, tensors);
        cost.read_bytes += tensors.num_bytes();
        cost.largest_layers_bytes =
            std::max(cost.largest_layers_bytes, before + tensors.num_bytes());
        before = tensors.num_bytes();

        cost.linear_flop += 2 * cost.num_tokens * attention_weights(config);
        const AttentionConfig& attention = config.attention;
        const double window = attention.sliding_window[layer];
        for (const std::int64_t length : sequence_lengths)
            cost.attention_flop += 2 * causal_pairs(static_cast<double>(length), window) *
                                   attention.num_heads *
                                   (attention.key_size + attention.value_size);
        const double width = !is_moe
                                 ? config.dense_intermediate_size
                                 : static_cast<double>(moe.router.top_k) * moe.intermediate_size +
                                       moe.shared_intermediate_size;
        if (!is_moe || with_experts)
            cost.expert_flop += 2 * cost.num_tokens * 3 * hidden * width;
    }
    return cost;
}

}  // namespace eplb
