#include "lib/engines/config_rules.h"

#include <algorithm>

namespace eplb {
namespace {

// "rank 1: expert 7", of the first that a rank holds twice; empty where none does.
std::string first_duplicate(const Placement& placement) {
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        const std::span<const int> rank = placement.rank(rank_id);
        for (auto slot = rank.begin(); slot != rank.end(); ++slot)
            if (std::find(rank.begin(), slot, *slot) != slot)
                return "rank " + std::to_string(rank_id) + ": expert " + std::to_string(*slot);
    }
    return "";
}

}  // namespace

std::vector<int> layers_without_entry(const EplbConfig& config, std::span<const int> layers) {
    std::vector<int> missing;
    for (const int layer : layers)
        if (!config.initial_global_assignments.contains(layer))
            missing.push_back(layer);
    return missing;
}

std::string layers_text(const std::vector<int>& layers) {
    constexpr int kMostNamed = 8;
    const int num_layers = static_cast<int>(layers.size());
    std::string text = num_layers == 1 ? "layer " : "layers ";
    for (int i = 0; i < std::min(num_layers, kMostNamed); ++i)
        text += (i == 0 ? "" : ", ") + std::to_string(layers[i]);
    if (num_layers > kMostNamed)
        text += " and " + std::to_string(num_layers - kMostNamed) + " more";
    return text;
}

std::string duplicates_text(const EplbConfig& config, int ep_size) {
    if (ep_size < 1)
        return "";
    int num_layers = 0;
    std::string first;
    for (const auto& [layer, expert_ids] : config.initial_global_assignments) {
        const Placement placement = {ep_size, config.num_slots / ep_size, expert_ids};
        if (num_duplicate_slots(placement) > 0 && num_layers++ == 0)
            first = "layer " + std::to_string(layer) + ", " + first_duplicate(placement);
    }
    if (num_layers == 0)
        return "";
    return "in " + std::to_string(num_layers) + " of " +
           std::to_string(config.initial_global_assignments.size()) +
           " layers an expert stands twice on a rank (" + first + ")";
}

}  // namespace eplb
