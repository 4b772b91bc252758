// What TensorRT-LLM says of its yaml on loading, beyond what lib/formats/eplb_config.h refuses.
// Source of the rules: NVIDIA/TensorRT-LLM, moe_load_balancer.py and interface.py of its fused MoE.
#include <algorithm>

#include "lib/formats/configs/config_rules.h"
#include "lib/formats/configs/engine_configs.h"

namespace eplb {
namespace {

void judge_layers(const EngineConfig& config,
                  const std::string& name,
                  const ModelShape& model,
                  ConfigVerdict& verdict) {
    const std::vector<int> missing = layers_without_entry(config.config, model.moe_layers);
    if (!missing.empty())
        verdict.errors.push_back(name + ": has no entry for " + layers_text(missing) +
                                 " of the model: the engine's worker would die of a KeyError");

    const int mtp_stop = model.num_hidden_layers + model.num_mtp_layers;
    std::vector<int> mtp_layers;
    for (int layer = model.num_hidden_layers; layer < mtp_stop; ++layer)
        mtp_layers.push_back(layer);
    const std::vector<int> missing_mtp = layers_without_entry(config.config, mtp_layers);
    if (!missing_mtp.empty())
        verdict.warnings.push_back(name + ": has no entry for " + layers_text(missing_mtp) +
                                   ", of multi-token prediction: a run with MTP would die of a "
                                   "KeyError (eplb-gen --fill_layers adds it to a new placement)");

    std::vector<int> unused;
    for (const auto& [layer, expert_ids] : config.config.initial_global_assignments)
        if (layer >= mtp_stop || (layer < model.num_hidden_layers &&
                                  std::find(model.moe_layers.begin(), model.moe_layers.end(),
                                            layer) == model.moe_layers.end()))
            unused.push_back(layer);
    if (!unused.empty())
        verdict.warnings.push_back(name + ": has an entry for " + layers_text(unused) +
                                   ", no MoE layer of the model: the engine never looks there. Is "
                                   "it the right model?");
}

}  // namespace

void judge_trtllm_config(const EngineConfig& config,
                         const std::string& name,
                         const ModelShape& model,
                         ConfigVerdict& verdict) {
    if (config.ep_size == 1)
        verdict.errors.push_back(name +
                                 ": the engine takes a load balancer only with more than "
                                 "one rank; ep_size is 1");
    if (!config.config.initial_global_assignments.empty())
        judge_layers(config, name, model, verdict);
    if (const std::string duplicates = duplicates_text(config); !duplicates.empty())
        verdict.warnings.push_back(name + ": " + duplicates +
                                   ", which takes memory and spreads no load");
}

}  // namespace eplb
