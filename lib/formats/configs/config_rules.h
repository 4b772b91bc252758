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

// "physical_to_logical_map": [num_rows][num_slots], at least one of each, rows of equal length.
std::vector<std::vector<int>> parse_slot_rows(const nlohmann::json& map, const std::string& what);

// A row per line: "[\n[0, 1],\n[1, 0]\n]".
std::string format_slot_rows(const std::vector<std::vector<int>>& rows);
std::string format_slot_row(const std::vector<int>& row);

}  // namespace eplb

#endif
