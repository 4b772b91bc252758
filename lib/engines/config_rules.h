#ifndef EPLB_ENGINES_CONFIG_RULES_H
#define EPLB_ENGINES_CONFIG_RULES_H

#include <span>
#include <string>
#include <vector>

#include "lib/placement/placement.h"

// What engines' rules of configs share.
namespace eplb {

// Those of `layers` for which the config has no assignment.
std::vector<int> layers_without_entry(const EplbConfig& config, std::span<const int> layers);

// "layer 3", "layers 3, 4, 5", after the eighth "and 12 more"
std::string layers_text(const std::vector<int>& layers);

// Which expert stands twice on a rank, as a clause: "in 2 of 3 layers an expert stands twice on a
// rank (layer 3, rank 1: expert 7)". Empty where none does or ep_size is not known (0).
std::string duplicates_text(const EplbConfig& config, int ep_size);

}  // namespace eplb

#endif
