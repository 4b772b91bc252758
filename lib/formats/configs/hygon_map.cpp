// The expert map of HYGON's vLLM plugin: {"model_maps": {KEY: {"physical_to_logical_map":
// [num_moe_layers][num_slots], …}}}, where … may declare num_logical_experts,
// num_redundant_experts, num_physical_experts, num_moe_layers and model_class. Older files hold one
// model's members at the top. Rows are MoE layers by position. Source of the rules: vllm-plugin-das
// #34 and #69.
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/config_rules.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr const char* kMap = "physical_to_logical_map";

std::string quoted(const std::string& text) {
    return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

// The model's object and the key it stands under.
struct ModelMap {
    const json& object;
    std::string key;
};

ModelMap choose_model(const json& root, const std::string& name, const ConfigContext& context) {
    const json* const maps = find_json_member(root, "model_maps");
    if (maps == nullptr)
        return {root, ""};
    require_object(*maps, name + ": model_maps");
    std::string keys;
    for (const auto& [key, map] : maps->items())
        keys += (keys.empty() ? "" : ", ") + quoted(key);
    if (maps->empty())
        throw Error(name + ": model_maps is empty");
    if (!context.model_key.empty()) {
        const auto found = maps->find(context.model_key);
        if (found == maps->end())
            throw Error(name + ": model_maps has no model " + quoted(context.model_key) +
                        "; it has " + keys);
        return {*found, context.model_key};
    }
    if (maps->size() > 1)
        throw Error(name + ": holds several models; give the key of one with " +
                    setting("model_key") + ": " + keys);
    return {maps->front(), maps->begin().key()};
}

// A number that the file may declare; 0: it does not.
int declared(const json& model, const char* key, const std::string& where, int least) {
    const json* const value = find_json_member(model, key);
    return value == nullptr ? 0 : json_integer(*value, where + ": " + key, least, kMaxNumSlots);
}

void require_declared(const json& model, const char* key, const std::string& where, int counted) {
    if (model.contains(key) && declared(model, key, where, 0) != counted)
        throw Error(where + ": " + key + " is declared as " +
                    std::to_string(declared(model, key, where, 0)) + ", the map has " +
                    std::to_string(counted));
}

EngineConfig parse_hygon(const ConfigText& text, const ConfigContext& context) {
    const auto& [bytes, root, name] = text;
    require_object(root, name + ": the content");
    const ModelMap model = choose_model(root, name, context);
    const std::string where =
        model.key.empty() ? name : name + ": model_maps: " + quoted(model.key);
    require_object(model.object, where);
    std::vector<std::vector<int>> rows =
        parse_slot_rows(json_member(model.object, kMap, where), where + ": " + kMap);
    const int num_rows = static_cast<int>(rows.size());

    EngineConfig config;
    config.has_all_moe_layers = true;
    config.model_key = model.key;
    if (const json* const model_class = find_json_member(model.object, "model_class"))
        config.model_class = json_string(*model_class, where + ": model_class");
    config.config.num_slots = static_cast<int>(rows.front().size());
    config.num_experts = declared(model.object, "num_logical_experts", where, 1);
    config.config.initial_global_assignments = layers_by_position(std::move(rows), context, where);
    complete_config(config, context, where);
    require_declared(model.object, "num_redundant_experts", where,
                     config.config.num_slots - config.num_experts);
    require_declared(model.object, "num_physical_experts", where, config.config.num_slots);
    require_declared(model.object, "num_moe_layers", where, num_rows);
    return config;
}

std::string write_hygon(const EngineConfig& config, const ConfigContext& context) {
    const std::string& key = context.model_key.empty() ? config.model_key : context.model_key;
    if (key.empty())
        throw Error("the hygon format keeps each model under a key, and it is not known; give " +
                    setting("model_key") + ", as a map that the plugin recorded has it");
    require_moe_layers(config.config, context);
    const EplbConfig& eplb = config.config;
    std::vector<std::vector<int>> rows;
    for (const auto& [layer, expert_ids] : eplb.initial_global_assignments)
        rows.push_back(expert_ids);
    std::string text = "{\"model_maps\": {" + quoted(key) + ": {\n";
    if (!config.model_class.empty())
        text += "\"model_class\": " + quoted(config.model_class) + ",\n";
    text += "\"num_logical_experts\": " + std::to_string(config.num_experts) +
            ",\n\"num_redundant_experts\": " + std::to_string(eplb.num_slots - config.num_experts) +
            ",\n\"num_physical_experts\": " + std::to_string(eplb.num_slots) +
            ",\n\"num_moe_layers\": " + std::to_string(rows.size()) + ",\n\"" + kMap +
            "\": " + format_slot_rows(rows);
    return text + "}}}\n";
}

}  // namespace

constinit const ConfigCodec hygon_codec = {
    .format = ConfigFormat::hygon,
    .name = "hygon",
    .own_key = "model_maps",
    .looks_like_another = true,
    .parse = parse_hygon,
    .write = write_hygon,
};

}  // namespace eplb
