#include "lib/collect/initial_placement.h"

#include <string>

#include "lib/base/error.h"

namespace eplb {

void check_deployment(const MoeModelConfig& model,
                      int ep_size,
                      const std::optional<EplbConfig>& config) {
    const int num_experts = model.router.num_experts;
    const std::string on_ranks = " on " + std::to_string(ep_size) + " ranks";
    if (!config) {
        if (num_experts % ep_size != 0)
            throw UsageError(
                std::to_string(num_experts) + " experts" + on_ranks +
                ": not the same number on each; choose an ep_size that divides the "
                "experts, or give a load balancer config with a num_slots that it divides");
        return;
    }
    const int num_slots = config->num_slots;
    if (num_slots % ep_size != 0)
        throw Error(std::to_string(num_slots) + " slots" + on_ranks +
                    ": num_slots must be a multiple of ep_size");
    if (num_slots < num_experts)
        throw Error("num_slots " + std::to_string(num_slots) + " is below the model's " +
                    std::to_string(num_experts) + " experts");
}

Placement initial_placement(const MoeModelConfig& model,
                            int layer,
                            int ep_size,
                            const std::optional<EplbConfig>& config) {
    const int num_experts = model.router.num_experts;
    const int num_slots = config ? config->num_slots : num_experts;
    const int slots_per_rank = num_slots / ep_size;
    if (!config || config->initial_global_assignments.empty())
        return default_placement(num_experts, ep_size, slots_per_rank);
    const int layer_id = model.layers[layer];
    const std::string subject =
        "the load balancer config, layer " + std::to_string(layer_id) + ": ";
    const auto found = config->initial_global_assignments.find(layer_id);
    if (found == config->initial_global_assignments.end())
        throw Error(subject +
                    "has no assignment; make the config from statistics of this model, or add "
                    "the layer with eplb-gen --fill_layers");
    if (found->second.size() != static_cast<std::size_t>(num_slots))
        throw Error(subject + std::to_string(found->second.size()) +
                    " entries where num_slots is " + std::to_string(num_slots));
    try {
        covering_replica_counts(found->second, num_experts);
    } catch (const Error& error) {
        throw Error(subject + error.what());
    }
    return {ep_size, slots_per_rank, found->second};
}

}  // namespace eplb
