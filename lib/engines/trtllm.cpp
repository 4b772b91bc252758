// TensorRT-LLM. Source of the rules: NVIDIA/TensorRT-LLM, moe_load_balancer.py and interface.py of
// its fused MoE.
#include <algorithm>

#include "lib/engines/config_rules.h"
#include "lib/engines/default_placement.h"
#include "lib/engines/engine.h"

namespace eplb {
namespace {

// Slot s of rank r holds expert (r * num_experts / ep_size + s) mod num_experts, with the division
// rounded down. Every expert has a slot, since there is room for all.
Placement default_placement(int num_experts, int ep_size, int slots_per_rank) {
    require_room(num_experts, ep_size, slots_per_rank);
    Placement placement{ep_size, slots_per_rank, {}};
    placement.expert_ids.reserve(placement.num_slots());
    for (int rank_id = 0; rank_id < ep_size; ++rank_id)
        for (int slot = 0; slot < slots_per_rank; ++slot)
            placement.expert_ids.push_back((rank_id * num_experts / ep_size + slot) % num_experts);
    return placement;
}

void judge_layers(const ConfigInUse& in_use, ConfigVerdict& verdict) {
    const std::string name(in_use.name);
    const std::vector<int> missing = layers_without_entry(in_use.config, in_use.moe_layers);
    if (!missing.empty())
        verdict.errors.push_back(name + ": has no entry for " + layers_text(missing) +
                                 " of the model: the engine's worker would die of a KeyError");

    const int mtp_stop = in_use.num_hidden_layers + in_use.num_mtp_layers;
    std::vector<int> mtp_layers;
    for (int layer = in_use.num_hidden_layers; layer < mtp_stop; ++layer)
        mtp_layers.push_back(layer);
    const std::vector<int> missing_mtp = layers_without_entry(in_use.config, mtp_layers);
    if (!missing_mtp.empty())
        verdict.warnings.push_back(name + ": has no entry for " + layers_text(missing_mtp) +
                                   ", of multi-token prediction: a run with MTP would die of a "
                                   "KeyError; the default assignment will do");

    std::vector<int> unused;
    for (const auto& [layer, expert_ids] : in_use.config.initial_global_assignments)
        if (layer >= mtp_stop ||
            (layer < in_use.num_hidden_layers &&
             std::ranges::find(in_use.moe_layers, layer) == in_use.moe_layers.end()))
            unused.push_back(layer);
    if (!unused.empty())
        verdict.warnings.push_back(name + ": has an entry for " + layers_text(unused) +
                                   ", no MoE layer of the model: the engine never looks there. Is "
                                   "it the right model?");
}

void judge_for_trtllm(const ConfigInUse& in_use, ConfigVerdict& verdict) {
    const std::string name(in_use.name);
    if (in_use.ep_size == 1)
        verdict.errors.push_back(name +
                                 ": the engine takes a load balancer only with more than "
                                 "one rank; ep_size is 1");
    if (!in_use.config.initial_global_assignments.empty())
        judge_layers(in_use, verdict);
    if (const std::string duplicates = duplicates_text(in_use.config, in_use.ep_size);
        !duplicates.empty())
        verdict.warnings.push_back(name + ": " + duplicates +
                                   ", which takes memory and spreads no load");
}

}  // namespace

constinit const Engine trtllm_engine = {
    .name = "trtllm",
    .title = "TensorRT-LLM",
    .default_placement = default_placement,
    .replica_choice = ReplicaChoice::round_robin,
    .layer_numbering = LayerNumbering::layer_id,
    .config_format = ConfigFormat::trtllm,
    .load_with = "moe_config: {load_balancer: eplb.yaml}",
    .needs_model_to_judge = true,
    .judge = judge_for_trtllm,
};

}  // namespace eplb
