#ifndef EPLB_FORMATS_CONFIGS_CONFIG_RULES_H
#define EPLB_FORMATS_CONFIGS_CONFIG_RULES_H

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/formats/configs/config_file.h"

// What several formats share.
namespace eplb {

// More slots or experts, and more layers, than any deployment has, few enough that products of
// sizes do not overflow.
constexpr int kMaxNumSlots = 1 << 20;
constexpr int kMaxNumLayers = 1 << 12;

// Takes ep_size and num_experts from the context where the config lacks them (num_experts: else the
// highest id + 1) and checks everything that parse_config() promises. Error: they disagree, or a
// rule is broken.
void complete_config(EngineConfig& config, const ConfigContext& context, const std::string& name);

// Rows of slots, [num_rows][num_slots], under the ids of context.moe_layers. Error: these are not
// known, or are not as many as the rows.
std::map<int, std::vector<int>> layers_by_position(std::vector<std::vector<int>> rows,
                                                   const ConfigContext& context,
                                                   const std::string& name);

// Error: the context names the MoE layers, and the config has others.
void require_moe_layers(const EplbConfig& config, const ConfigContext& context);

// Those of `layers` for which the config has no assignment.
std::vector<int> layers_without_entry(const EplbConfig& config, const std::vector<int>& layers);

// "layer 3", "layers 3, 4, 5", after the eighth "and 12 more"
std::string layers_text(const std::vector<int>& layers);

// "physical_to_logical_map": [num_rows][num_slots], at least one of each, rows of equal length.
std::vector<std::vector<int>> parse_slot_rows(const nlohmann::json& map, const std::string& what);

// A row per line: "[\n[0, 1],\n[1, 0]\n]".
std::string format_slot_rows(const std::vector<std::vector<int>>& rows);
std::string format_slot_row(const std::vector<int>& row);

// Which expert stands twice on a rank, as a clause: "in 2 of 3 layers an expert stands twice on a
// rank (layer 3, rank 1: expert 7)". Empty where none does or ep_size is not known.
std::string duplicates_text(const EngineConfig& config);

}  // namespace eplb

#endif
