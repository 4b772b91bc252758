// SGLang's --init-expert-location: {"physical_to_logical_map": [num_hidden_layers][num_slots]}. Its
// loader passes the object's members as arguments to a constructor that takes this one alone, and
// indexes the rows by decoder layer. Slot p lives on rank p / (num_slots / ep_size). Source of the
// rules: sgl-project/sglang, expert_location.py (ExpertLocationMetadata).
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/config_rules.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr const char* kSlotMap = "physical_to_logical_map";

// what SGLang itself has in the rows of layers without experts
std::vector<int> default_row(int num_slots, int num_experts) {
    return sglang_engine.default_placement(num_experts, 1, num_slots).expert_ids;
}

std::vector<std::vector<int>> parse_rows(const json& root,
                                         const std::string& name,
                                         const ConfigContext& context) {
    require_object(root, name + ": the content");
    if (root.contains("logical_count"))
        throw Error(name +
                    ": holds counts (\"logical_count\"), no placement; it is read where "
                    "statistics are");
    const json& map = json_member(root, kSlotMap, name);
    for (const auto& [key, value] : root.items())
        if (key != kSlotMap)
            throw Error(name + ": has the key " + quoted_name(key) + " beside \"" +
                        std::string(kSlotMap) + "\", with which SGLang does not start; remove it");
    std::vector<std::vector<int>> rows = parse_slot_rows(map, name + ": " + kSlotMap);
    const auto num_rows = std::to_string(rows.size());
    if (context.num_hidden_layers > 0 &&
        rows.size() != static_cast<std::size_t>(context.num_hidden_layers))
        throw Error(name + ": has " + num_rows + " rows where the model has " +
                    std::to_string(context.num_hidden_layers) +
                    " decoder layers; SGLang needs a row for each, dense ones too");
    if (context.moe_layers.empty() && !context.first_moe_layer)
        throw Error(name + ": which of its " + num_rows +
                    " rows are MoE layers is not known; give " + setting("model_config") + ", or " +
                    setting("moe_layers") + " with the ids of its MoE layers");
    const int last =
        context.moe_layers.empty() ? *context.first_moe_layer : context.moe_layers.back();
    if (static_cast<std::size_t>(last) >= rows.size())
        throw Error(name + ": has " + num_rows + " rows, none for the model's layer " +
                    std::to_string(last));
    return rows;
}

// Which rows are of MoE layers.
std::vector<int> rows_of_moe_layers(const ConfigContext& context, std::size_t num_rows) {
    std::vector<int> layers = context.moe_layers;
    if (layers.empty())
        for (int layer = *context.first_moe_layer; layer < static_cast<int>(num_rows); ++layer)
            layers.push_back(layer);
    return layers;
}

// SGLang derives tables from the rows of dense layers too, but never looks into them
void check_dense_rows(const std::vector<std::vector<int>>& rows,
                      const std::string& name,
                      EngineConfig& config) {
    std::size_t num_others = 0;
    std::size_t first_other = 0;
    const std::vector<int> default_ids = default_row(config.config.num_slots, config.num_experts);
    for (std::size_t layer = 0; layer < rows.size(); ++layer) {
        if (config.config.initial_global_assignments.contains(static_cast<int>(layer)))
            continue;
        for (const int expert_id : rows[layer])
            if (expert_id >= config.num_experts)
                throw Error(name + ": row " + std::to_string(layer) +
                            " (a dense layer): expert id " + std::to_string(expert_id) +
                            " is outside [0, " + std::to_string(config.num_experts) +
                            "): SGLang would not start");
        if (rows[layer] != default_ids && num_others++ == 0)
            first_other = layer;
    }
    if (num_others > 0)
        config.warnings.push_back(
            name + ": " + std::to_string(num_others) +
            " rows of dense layers (the first: " + std::to_string(first_other) +
            ") are not in plain order; what they say is lost. Are the MoE layers the right ones?");
}

EngineConfig parse_sglang(const ConfigText& text, const ConfigContext& context) {
    const std::vector<std::vector<int>> rows = parse_rows(text.root, text.name, context);
    EngineConfig config;
    config.has_all_moe_layers = true;
    config.config.num_slots = static_cast<int>(rows.front().size());
    config.num_hidden_layers = static_cast<int>(rows.size());
    for (const int layer : rows_of_moe_layers(context, rows.size()))
        config.config.initial_global_assignments[layer] = rows[layer];
    complete_config(config, context, text.name);
    check_dense_rows(rows, text.name, config);
    return config;
}

std::string write_sglang(const EngineConfig& config, const ConfigContext& context) {
    const std::map<int, std::vector<int>>& layers = config.config.initial_global_assignments;
    if (context.num_hidden_layers < 1)
        throw Error(
            "SGLang's format has a row for each decoder layer, and their number is not "
            "known; give " +
            setting("model_config") + " or " + setting("num_hidden_layers"));
    if (layers.rbegin()->first >= context.num_hidden_layers)
        throw Error("layer " + std::to_string(layers.rbegin()->first) + " is beyond the model's " +
                    std::to_string(context.num_hidden_layers) +
                    " decoder layers; SGLang's format has no row for it: leave the layer out");
    require_moe_layers(config.config, context);
    std::vector<std::vector<int>> rows(context.num_hidden_layers,
                                       default_row(config.config.num_slots, config.num_experts));
    for (const auto& [layer, expert_ids] : layers)
        rows[layer] = expert_ids;
    return "{\"" + std::string(kSlotMap) + "\": " + format_slot_rows(rows) + "}\n";
}

}  // namespace

constinit const ConfigCodec sglang_codec = {
    .format = ConfigFormat::sglang,
    .name = "sglang",
    .looks_like_another = true,
    .parse = parse_sglang,
    .write = write_sglang,
};

}  // namespace eplb
