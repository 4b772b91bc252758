#include "lib/placement/plan/plan_config.h"

namespace eplb {

PlacementsInForce placements_in_force(const EplbConfig& in_force,
                                      std::span<const int> layers,
                                      const Placement& otherwise) {
    PlacementsInForce found;
    for (const int layer : layers) {
        found.placements.push_back(otherwise);
        const auto assignment = in_force.initial_global_assignments.find(layer);
        if (assignment == in_force.initial_global_assignments.end())
            found.missing_layers.push_back(layer);
        else
            found.placements.back().expert_ids = assignment->second;
    }
    return found;
}

EplbConfig config_of(const Plan& plan, std::span<const int> layers) {
    EplbConfig config;
    config.num_slots = plan.layers.front().placement.num_slots();
    for (int i = 0; const int layer : layers)
        config.initial_global_assignments[layer] = plan.layers[i++].placement.expert_ids;
    return config;
}

std::vector<int> keep_other_layers(const EplbConfig& in_force, EplbConfig& config) {
    std::vector<int> kept;
    for (const auto& [layer, expert_ids] : in_force.initial_global_assignments)
        if (config.initial_global_assignments.try_emplace(layer, expert_ids).second)
            kept.push_back(layer);
    return kept;
}

std::vector<int> fill_layers(std::span<const int> layers,
                             const Placement& placement,
                             EplbConfig& config) {
    std::vector<int> filled;
    for (const int layer : layers)
        if (config.initial_global_assignments.try_emplace(layer, placement.expert_ids).second)
            filled.push_back(layer);
    return filled;
}

}  // namespace eplb
