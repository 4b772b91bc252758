#ifndef EPLB_PLACEMENT_PLAN_PLAN_CONFIG_H
#define EPLB_PLACEMENT_PLAN_PLAN_CONFIG_H

#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/plan/planner.h"

// From plans to configs, and back from the config in force.
namespace eplb {

// The placements in force of some layers.
struct PlacementsInForce {
    std::vector<Placement> placements;  // [layers]
    std::vector<int> missing_layers;    // ids of those that the config lacks
};

// otherwise: what a layer has that the config lacks; of the config's num_slots, as all are.
PlacementsInForce placements_in_force(const EplbConfig& in_force,
                                      std::span<const int> layers,
                                      const Placement& otherwise);

// layers: ids of the plan's.
EplbConfig config_of(const Plan& plan, std::span<const int> layers);

// Takes over what is in force of layers that `config` lacks; gives their ids.
std::vector<int> keep_other_layers(const EplbConfig& in_force, EplbConfig& config);

// Gives those of some layers a placement that have none; gives their ids.
std::vector<int> fill_layers(std::span<const int> layers,
                             const Placement& placement,
                             EplbConfig& config);

}  // namespace eplb

#endif
