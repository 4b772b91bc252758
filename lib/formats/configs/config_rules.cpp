#include "lib/formats/configs/config_rules.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/engines/config_rules.h"

namespace eplb {
namespace {

// Two sources of one number; 0 is not known.
int agreed(int in_file, int in_context, const std::string& what, const std::string& name) {
    if (in_file > 0 && in_context > 0 && in_file != in_context)
        throw Error(name + ": is for " + what + " " + std::to_string(in_file) + ", not " +
                    std::to_string(in_context) + "; give the value that it was made for");
    return in_file > 0 ? in_file : in_context;
}

int highest_expert_id(const EplbConfig& config) {
    int highest = -1;
    for (const auto& [layer, expert_ids] : config.initial_global_assignments)
        for (const int expert_id : expert_ids)
            highest = std::max(highest, expert_id);
    return highest;
}

void check_numbers(const EngineConfig& config, const std::string& name) {
    const int num_slots = config.config.num_slots;
    const std::string slots_text = name + ": num_slots " + std::to_string(num_slots);
    if (num_slots < 1 || num_slots > kMaxNumSlots)
        throw Error(slots_text + " is outside [1, " + std::to_string(kMaxNumSlots) + "]");
    if (config.config.layer_updates_per_iter < 0)
        throw Error(name + ": layer_updates_per_iter is below 0");
    if (config.ep_size > 0 && num_slots % config.ep_size != 0)
        throw Error(slots_text + " is no multiple of ep_size " + std::to_string(config.ep_size));
    if (num_slots < config.num_experts)
        throw Error(slots_text + " is less than num_experts " + std::to_string(config.num_experts) +
                    ": some expert would have no slot");
}

void check_layer(const EngineConfig& config,
                 int layer,
                 const std::vector<int>& expert_ids,
                 const std::string& name) {
    const std::string layer_text = name + ": layer " + std::to_string(layer) + ": ";
    if (layer < 0)
        throw Error(layer_text + "layer ids start at 0");
    if (expert_ids.size() != static_cast<std::size_t>(config.config.num_slots))
        throw Error(layer_text + std::to_string(expert_ids.size()) + " slots where num_slots is " +
                    std::to_string(config.config.num_slots));
    std::vector<bool> has_slot(config.num_experts);
    for (const int expert_id : expert_ids) {
        if (expert_id < 0 || expert_id >= config.num_experts)
            throw Error(layer_text + "expert id " + std::to_string(expert_id) + " is outside [0, " +
                        std::to_string(config.num_experts) + "): the config is of another model");
        has_slot[expert_id] = true;
    }
    const auto missing = std::find(has_slot.begin(), has_slot.end(), false);
    if (missing != has_slot.end())
        throw Error(layer_text + "expert " + std::to_string(missing - has_slot.begin()) +
                    " has no slot; each of the " + std::to_string(config.num_experts) +
                    " experts needs one");
}

}  // namespace

void complete_config(EngineConfig& config, const ConfigContext& context, const std::string& name) {
    config.ep_size = agreed(config.ep_size, context.ep_size, "ep_size", name);
    config.num_experts = agreed(config.num_experts, context.num_experts, "num_experts", name);
    if (config.num_experts == 0 && !config.config.initial_global_assignments.empty()) {
        const int highest = highest_expert_id(config.config);
        if (highest >= kMaxNumSlots)
            throw Error(name + ": expert id " + std::to_string(highest) + " is absurd");
        config.num_experts = highest + 1;
    }
    check_numbers(config, name);  // before anything of that size is made
    for (const auto& [layer, expert_ids] : config.config.initial_global_assignments)
        check_layer(config, layer, expert_ids, name);
}

std::map<int, std::vector<int>> layers_by_position(std::vector<std::vector<int>> rows,
                                                   const ConfigContext& context,
                                                   const std::string& name) {
    const std::string rows_text = std::to_string(rows.size()) + " MoE layers by position";
    std::map<int, std::vector<int>> layers;
    if (context.moe_layers.empty() && context.first_moe_layer) {
        for (std::size_t i = 0; i < rows.size(); ++i)
            layers.emplace(*context.first_moe_layer + static_cast<int>(i), std::move(rows[i]));
        return layers;
    }
    if (context.moe_layers.empty())
        throw Error(name + ": holds " + rows_text + ", without their ids; give " +
                    setting("model_config") + ", or " + setting("moe_layers") +
                    " with the ids of its MoE layers");
    if (rows.size() != context.moe_layers.size())
        throw Error(name + ": holds " + rows_text + " where the model has " +
                    std::to_string(context.moe_layers.size()) + ": the config is of another model");
    for (std::size_t i = 0; i < rows.size(); ++i)
        layers.emplace(context.moe_layers[i], std::move(rows[i]));
    return layers;
}

void require_moe_layers(const EplbConfig& config, const ConfigContext& context) {
    if (context.moe_layers.empty())
        return;
    const std::vector<int> missing = layers_without_entry(config, context.moe_layers);
    if (!missing.empty())
        throw Error("the config has no entry for " + layers_text(missing) +
                    " of the model; this format needs all MoE layers");
    for (const auto& [layer, expert_ids] : config.initial_global_assignments)
        if (std::find(context.moe_layers.begin(), context.moe_layers.end(), layer) ==
            context.moe_layers.end())
            throw Error("the config has layer " + std::to_string(layer) +
                        ", which is no MoE decoder layer of the model; this format has no place "
                        "for it. Layers from " +
                        setting("num_hidden_layers") +
                        " on, of multi-token prediction, are left out");
}

std::vector<std::vector<int>> parse_slot_rows(const nlohmann::json& map, const std::string& what) {
    require_list(map, what);
    std::vector<std::vector<int>> rows;
    rows.reserve(map.size());
    for (const nlohmann::json& row : map) {
        const std::string row_text = what + ": row " + std::to_string(rows.size());
        rows.push_back(json_integers(row, row_text, 0, kMaxNumSlots - 1));
        if (rows.back().size() != rows.front().size())
            throw Error(row_text + " has " + std::to_string(rows.back().size()) +
                        " slots where row 0 has " + std::to_string(rows.front().size()));
    }
    if (rows.empty() || rows.front().empty())
        throw Error(what + " is empty");
    return rows;
}

std::string format_slot_row(const std::vector<int>& row) {
    std::string text = "[";
    for (std::size_t slot = 0; slot < row.size(); ++slot)
        text += (slot == 0 ? "" : ", ") + std::to_string(row[slot]);
    return text + "]";
}

std::string format_slot_rows(const std::vector<std::vector<int>>& rows) {
    std::string text = "[";
    for (std::size_t i = 0; i < rows.size(); ++i)
        text += (i == 0 ? "\n" : ",\n") + format_slot_row(rows[i]);
    return text + "\n]";
}

}  // namespace eplb
