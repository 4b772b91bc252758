// Our own config file: the placement, and what is known of how it came about. Described by
// data/config.schema.json; docs/configs.md has an example.
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/config_rules.h"

namespace eplb {
namespace {

using nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kFormatName = "eplb-config";
constexpr int kConfigVersion = 1;

constexpr std::array<std::pair<const char*, double ConfigMetrics::*>, 6> kMetrics = {{
    {"aggregated", &ConfigMetrics::aggregated},
    {"bound", &ConfigMetrics::bound},
    {"noise_floor", &ConfigMetrics::noise_floor},
    {"fitted", &ConfigMetrics::fitted},
    {"predicted", &ConfigMetrics::predicted},
    {"predicted_greedy", &ConfigMetrics::predicted_greedy},
}};

ConfigMetrics parse_metrics(const json& object, const std::string& where) {
    require_object(object, where);
    std::vector<std::string_view> known;
    for (const auto& [key, member] : kMetrics)
        known.emplace_back(key);
    refuse_other_keys(object, known, where);
    ConfigMetrics metrics;
    for (const auto& [key, member] : kMetrics)
        if (const json* const value = find_json_member(object, key)) {
            if (!value->is_number())
                throw Error(where + ": " + key + " must be a number");
            metrics.*member = value->get<double>();
        }
    return metrics;
}

std::vector<std::string> parse_strings(const json& list, const std::string& what) {
    require_list(list, what);
    std::vector<std::string> strings;
    for (const json& value : list)
        strings.push_back(json_string(value, what + ": an entry"));
    return strings;
}

ConfigProvenance parse_provenance(const json& object, const std::string& where) {
    require_object(object, where);
    refuse_other_keys(object, {"inputs", "flags", "version"}, where);
    ConfigProvenance provenance;
    if (const json* const inputs = find_json_member(object, "inputs"))
        provenance.inputs = parse_strings(*inputs, where + ": inputs");
    if (const json* const flags = find_json_member(object, "flags"))
        provenance.flags = parse_strings(*flags, where + ": flags");
    if (const json* const version = find_json_member(object, "version"))
        provenance.version = json_string(*version, where + ": version");
    return provenance;
}

// Adds a layer to the config; the first one tells ep_size and num_slots where the file does not.
void parse_layer(const json& object, const std::string& where, EngineConfig& config) {
    require_object(object, where);
    refuse_other_keys(object, {"layer", "assignment", "algorithm", "metrics"}, where);
    const int layer =
        json_integer(json_member(object, "layer", where), where + ": layer", 0, kMaxNumSlots);
    const std::string what = where + ": assignment";
    const std::vector<std::vector<int>> ranks =
        parse_slot_rows(json_member(object, "assignment", where), what);
    const auto num_ranks = static_cast<int>(ranks.size());
    if (config.ep_size == 0)
        config.ep_size = num_ranks;
    if (num_ranks != config.ep_size)
        throw Error(what + " has " + std::to_string(num_ranks) + " ranks where ep_size is " +
                    std::to_string(config.ep_size));
    std::vector<int> expert_ids;
    for (const std::vector<int>& rank : ranks)
        expert_ids.insert(expert_ids.end(), rank.begin(), rank.end());
    if (expert_ids.size() > static_cast<std::size_t>(kMaxNumSlots))
        throw Error(what + " has more slots than any deployment");
    if (config.config.num_slots == 0)
        config.config.num_slots = static_cast<int>(expert_ids.size());
    if (!config.config.initial_global_assignments.emplace(layer, std::move(expert_ids)).second)
        throw Error(where + ": layer " + std::to_string(layer) + " stands there twice");

    ConfigLayerNote note;
    const json* const algorithm = find_json_member(object, "algorithm");
    if (algorithm != nullptr)
        note.algorithm = json_string(*algorithm, where + ": algorithm");
    const json* const metrics = find_json_member(object, "metrics");
    if (metrics != nullptr)
        note.metrics = parse_metrics(*metrics, where + ": metrics");
    if (algorithm != nullptr || metrics != nullptr)
        config.layer_notes.emplace(layer, std::move(note));
}

// 0 where the key is absent
int integer_or_zero(const json& root, const char* key, const std::string& name, int least) {
    const json* const value = find_json_member(root, key);
    return value == nullptr ? 0 : json_integer(*value, name + ": " + key, least, kMaxNumSlots);
}

OrderedJson metrics_json(const ConfigMetrics& metrics) {
    OrderedJson object = OrderedJson::object();
    for (const auto& [key, member] : kMetrics)
        if (std::isfinite(metrics.*member))
            object[key] = metrics.*member;
    return object;
}

OrderedJson provenance_json(const ConfigProvenance& provenance) {
    OrderedJson object = OrderedJson::object();
    if (!provenance.inputs.empty())
        object["inputs"] = provenance.inputs;
    if (!provenance.flags.empty())
        object["flags"] = provenance.flags;
    if (!provenance.version.empty())
        object["version"] = provenance.version;
    return object;
}

// On one line. File names need not be UTF-8, JSON must be.
std::string line(const OrderedJson& value) {
    return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string layer_line(const EngineConfig& config, int layer, const std::vector<int>& expert_ids) {
    OrderedJson object;
    object["layer"] = layer;
    OrderedJson& ranks = object["assignment"] = OrderedJson::array();
    const int slots_per_rank = config.config.num_slots / config.ep_size;
    for (auto slot = expert_ids.begin(); slot != expert_ids.end(); slot += slots_per_rank)
        ranks.push_back(std::vector<int>(slot, slot + slots_per_rank));
    const auto note = config.layer_notes.find(layer);
    if (note != config.layer_notes.end() && !note->second.algorithm.empty())
        object["algorithm"] = note->second.algorithm;
    if (note != config.layer_notes.end())
        if (OrderedJson metrics = metrics_json(note->second.metrics); !metrics.empty())
            object["metrics"] = std::move(metrics);
    return line(object);
}

EngineConfig parse_plain(const ConfigText& text, const ConfigContext&) {
    const auto& [bytes, root, name] = text;
    require_format(root, kFormatName, kConfigVersion, name);
    refuse_other_keys(root,
                      {"format", "version", "num_experts", "ep_size", "num_slots",
                       "layer_updates_per_iter", "layers", "metrics", "provenance"},
                      name);
    EngineConfig config;
    config.num_experts = integer_or_zero(root, "num_experts", name, 1);
    config.ep_size = integer_or_zero(root, "ep_size", name, 1);
    config.config.num_slots = integer_or_zero(root, "num_slots", name, 1);
    config.config.layer_updates_per_iter = integer_or_zero(root, "layer_updates_per_iter", name, 0);
    if (const json* const layers = find_json_member(root, "layers")) {
        require_list(*layers, name + ": layers");
        std::size_t entry = 0;
        for (const json& layer : *layers)
            parse_layer(layer, name + ": layers: entry " + std::to_string(entry++), config);
    }
    if (config.config.num_slots == 0)
        throw Error(name + ": has neither layers nor num_slots; one of them is needed");
    if (const json* const metrics = find_json_member(root, "metrics"))
        config.metrics = parse_metrics(*metrics, name + ": metrics");
    if (const json* const provenance = find_json_member(root, "provenance"))
        config.provenance = parse_provenance(*provenance, name + ": provenance");
    return config;
}

std::string write_plain(const EngineConfig& config, const ConfigContext&) {
    const std::map<int, std::vector<int>>& layers = config.config.initial_global_assignments;
    if (config.ep_size < 1 && !layers.empty())
        throw Error("the plain format has a list for each rank; give " + setting("ep_size"));
    std::string text = "{\n\"format\": \"" + std::string(kFormatName) +
                       "\",\n\"version\": " + std::to_string(kConfigVersion);
    const auto add = [&](const char* key, const std::string& value) {
        text += std::string(",\n\"") + key + "\": " + value;
    };
    if (config.num_experts > 0)
        add("num_experts", std::to_string(config.num_experts));
    if (config.ep_size > 0)
        add("ep_size", std::to_string(config.ep_size));
    add("num_slots", std::to_string(config.config.num_slots));
    add("layer_updates_per_iter", std::to_string(config.config.layer_updates_per_iter));
    std::string lines;
    for (const auto& [layer, expert_ids] : layers)
        lines += (lines.empty() ? "\n" : ",\n") + layer_line(config, layer, expert_ids);
    if (!lines.empty())
        add("layers", "[" + lines + "\n]");
    if (const OrderedJson metrics = metrics_json(config.metrics); !metrics.empty())
        add("metrics", line(metrics));
    if (const OrderedJson provenance = provenance_json(config.provenance); !provenance.empty())
        add("provenance", line(provenance));
    return text + "\n}\n";
}

}  // namespace

constinit const ConfigCodec plain_codec = {
    .format = ConfigFormat::plain,
    .name = "plain",
    .holds_online_config = true,
    .own_key = "format",
    .parse = parse_plain,
    .write = write_plain,
};

}  // namespace eplb
