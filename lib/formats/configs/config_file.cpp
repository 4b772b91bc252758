#include "lib/formats/configs/config_file.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/configs/config_rules.h"
#include "lib/formats/configs/engine_configs.h"
#include "lib/formats/configs/eplb_config.h"
#include "lib/base/strict_json.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

// hygon's older format may say beside the map what it maps, SGLang's must not
bool describes_itself(const json& root) {
    for (const char* const key : {"num_logical_experts", "num_redundant_experts",
                                  "num_physical_experts", "num_moe_layers", "model_class"})
        if (root.contains(key))
            return true;
    return false;
}

ConfigFormat recognize_rows(const json& map,
                            const std::string& name,
                            const ConfigContext& context) {
    const std::size_t num_rows = map.is_array() ? map.size() : 0;
    const auto num_layers = static_cast<std::size_t>(context.num_hidden_layers);
    const std::size_t num_moe_layers = context.moe_layers.size();
    // where all layers are MoE layers, both formats mean the same
    const bool is_of_all_layers =
        num_layers > 0 ? num_rows == num_layers
                       : num_moe_layers > 0 &&
                             num_rows == static_cast<std::size_t>(context.moe_layers.back()) + 1;
    if (num_moe_layers > 0 && is_of_all_layers)
        return ConfigFormat::sglang;
    if (num_moe_layers > 0 && num_rows == num_moe_layers)
        return ConfigFormat::hygon;
    throw Error(name +
                ": is SGLang's (a row for each decoder layer) or hygon's older format (a row "
                "for each MoE layer), and its " +
                std::to_string(num_rows) +
                " rows do not tell; name it, --config_format sglang or hygon, or give "
                "--model_config");
}

ConfigFormat recognize_json(const json& root,
                            const std::string& name,
                            const ConfigContext& context) {
    require_object(root, name + ": the content");
    if (root.contains("format"))
        return ConfigFormat::plain;
    if (root.contains("model_maps"))
        return ConfigFormat::hygon;
    if (root.contains("layer_list"))
        return ConfigFormat::vllm_ascend;
    if (root.contains("num_slots"))
        return ConfigFormat::trtllm;  // JSON is yaml
    if (const json* const map = find_json_member(root, "physical_to_logical_map"))
        return describes_itself(root) ? ConfigFormat::hygon : recognize_rows(*map, name, context);
    if (root.contains("logical_count"))
        throw Error(name +
                    ": holds counts (\"logical_count\"), no placement; it is read where "
                    "statistics are");
    throw Error(name +
                ": has the keys of no known format; expected is one of format, model_maps, "
                "layer_list, num_slots and physical_to_logical_map");
}

// Yaml may start with a brace too, but only JSON puts the first key in double quotes.
bool looks_like_json(std::string_view text) {
    const std::size_t bracket = text.find_first_not_of(kSpace);
    if (bracket == std::string_view::npos || (text[bracket] != '{' && text[bracket] != '['))
        return false;
    const std::size_t next = text.find_first_not_of(kSpace, bracket + 1);
    return text[bracket] == '[' || next == std::string_view::npos || text[next] == '"' ||
           text[next] == '}';
}

void check_context(const ConfigContext& context) {
    if (context.num_experts < 0 || context.ep_size < 0 || context.num_hidden_layers < 0 ||
        context.num_hidden_layers > kMaxNumLayers)
        throw Error("the model's num_experts, num_hidden_layers or ep_size is out of range");
    if (context.first_moe_layer &&
        (*context.first_moe_layer < 0 || *context.first_moe_layer >= kMaxNumLayers))
        throw Error("first_moe_layer " + std::to_string(*context.first_moe_layer) +
                    " is out of range");
    int least = 0;
    for (const int layer : context.moe_layers) {
        if (layer < least || layer >= kMaxNumLayers)
            throw Error("the ids of MoE layers must rise from 0 on; layer " +
                        std::to_string(layer) + " does not fit");
        least = layer + 1;
    }
}

EngineConfig parse_trtllm(std::string_view text,
                          const std::string& name,
                          const ConfigContext& context) {
    EngineConfig config;
    config.config =
        parse_eplb_config(std::string(text), name, {context.num_experts, context.ep_size});
    return config;
}

EngineConfig parse_json_config(const json& root,
                               const std::string& name,
                               const ConfigContext& context,
                               ConfigFormat format) {
    switch (format) {
        case ConfigFormat::sglang:
            return parse_sglang_config(root, name, context);
        case ConfigFormat::vllm_ascend:
            return parse_vllm_ascend_map(root, name, context);
        case ConfigFormat::hygon:
            return parse_hygon_map(root, name, context);
        default:
            return parse_plain_config(root, name);
    }
}

// What the config and its format must agree on before anything is written.
void require_sayable(const EplbConfig& config, ConfigFormat format) {
    if (format == ConfigFormat::trtllm || format == ConfigFormat::plain)
        return;
    const std::string format_text = "the " + config_format_name(format) + " format ";
    if (config.initial_global_assignments.empty())
        throw Error(format_text +
                    "holds placements, and this config leaves them to the engine; write it as "
                    "trtllm or plain");
    if (config.layer_updates_per_iter > 0)
        throw Error(format_text +
                    "has no layer_updates_per_iter, which is above 0 here: the engine balances "
                    "online by flags of its own; set it to 0 to write the placement alone");
}

}  // namespace

const std::vector<std::string>& config_format_names() {
    static const std::vector<std::string> names = {"trtllm", "sglang", "vllm-ascend", "hygon",
                                                   "plain"};
    return names;
}

std::string config_format_name(ConfigFormat format) {
    return config_format_names()[static_cast<std::size_t>(format)];
}

ConfigFormat config_format_of(const std::string& name) {
    const std::vector<std::string>& names = config_format_names();
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end())
        return static_cast<ConfigFormat>(found - names.begin());
    std::string known;
    for (const std::string& each : names)
        known += (known.empty() ? "" : ", ") + each;
    throw Error("no config format is named '" + name + "'; known are " + known);
}

ConfigContext context_of(const ModelShape& model, int ep_size) {
    return {model.num_experts, ep_size, model.num_hidden_layers, model.moe_layers, ""};
}

ConfigFormat recognize_config(std::string_view text,
                              const std::string& name,
                              const ConfigContext& context) {
    if (!looks_like_json(text))
        return ConfigFormat::trtllm;
    return recognize_json(parse_strict_json(text, name), name, context);
}

EngineConfig parse_config(std::string_view text,
                          const std::string& name,
                          const ConfigContext& context,
                          std::optional<ConfigFormat> format) {
    check_context(context);
    EngineConfig config;
    if (format ? *format == ConfigFormat::trtllm : !looks_like_json(text)) {
        config = parse_trtllm(text, name, context);
    } else {
        const json root = parse_strict_json(text, name);
        const ConfigFormat known = format ? *format : recognize_json(root, name, context);
        config = known == ConfigFormat::trtllm ? parse_trtllm(text, name, context)
                                               : parse_json_config(root, name, context, known);
    }
    complete_config(config, context, name);
    return config;
}

EngineConfig read_config(const std::string& path,
                         const ConfigContext& context,
                         std::optional<ConfigFormat> format) {
    return parse_config(read_file(path), path, context, format);
}

std::string format_config(const EngineConfig& config,
                          ConfigFormat format,
                          const ConfigContext& context) {
    check_context(context);
    EngineConfig complete = config;
    complete_config(complete, context, "the config");
    require_sayable(complete.config, format);
    switch (format) {
        case ConfigFormat::trtllm:
            return format_eplb_config(complete.config);
        case ConfigFormat::sglang:
            return format_sglang_config(complete, context);
        case ConfigFormat::vllm_ascend:
            return format_vllm_ascend_map(complete, context);
        case ConfigFormat::hygon:
            return format_hygon_map(complete, context);
        case ConfigFormat::plain:
            break;
    }
    return format_plain_config(complete);
}

ConfigVerdict check_config(std::string_view text,
                           const std::string& name,
                           ConfigFormat engine,
                           const ModelShape& model,
                           int ep_size,
                           const std::string& model_key) {
    ConfigContext context = context_of(model, ep_size);
    context.model_key = model_key;
    ConfigVerdict verdict;
    EngineConfig config;
    try {
        config = parse_config(text, name, context, engine);
    } catch (const Error& error) {
        verdict.errors.push_back(error.what());
        return verdict;
    }
    verdict.warnings = config.warnings;
    switch (engine) {
        case ConfigFormat::trtllm:
            judge_trtllm_config(config, name, model, verdict);
            break;
        case ConfigFormat::sglang:
            judge_sglang_config(config, name, verdict);
            break;
        case ConfigFormat::vllm_ascend:
            judge_vllm_ascend_map(config, name, verdict);
            break;
        case ConfigFormat::hygon:
            judge_hygon_map(config, name, verdict);
            break;
        case ConfigFormat::plain:
            judge_plain_config(config, name, model, verdict);
            break;
    }
    return verdict;
}

}  // namespace eplb
