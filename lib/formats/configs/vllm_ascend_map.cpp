// vllm-ascend's expert map: {"moe_layer_count": L, "layer_list": [{"layer_id": 0, "device_count":
// D, "device_list": [{"device_id": 0, "device_expert": [expert ids in the order of local slots]},
// …]}, …]}. Layers are MoE layers by position; layer_id is not looked at. Further keys are ignored,
// since the loader takes members by name. Source of the rules: vllm-project/vllm-ascend,
// expert_load_balancer.py, and its maintainers in #1116.
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/config_rules.h"

namespace eplb {
namespace {

using nlohmann::json;

// The list under `key`, whose length another member declares.
const json& counted_list(const json& object,
                         const char* count_key,
                         const char* key,
                         const std::string& where) {
    const json& list = json_member(object, key, where);
    require_list(list, where + ": " + key);
    const int count = json_integer(json_member(object, count_key, where), where + ": " + count_key,
                                   1, kMaxNumSlots);
    if (list.size() != static_cast<std::size_t>(count))
        throw Error(where + ": " + count_key + " is " + std::to_string(count) + " where " + key +
                    " has " + std::to_string(list.size()) + " entries");
    return list;
}

// [num_slots], the devices one after the other
std::vector<int> parse_devices(const json& devices,
                               std::size_t& slots_per_rank,
                               const std::string& where) {
    std::vector<int> expert_ids;
    int device_id = 0;
    for (const json& device : devices) {
        const std::string device_text = where + ": device " + std::to_string(device_id);
        require_object(device, device_text);
        if (json_integer(json_member(device, "device_id", device_text), device_text + ": device_id",
                         0, kMaxNumSlots) != device_id)
            throw Error(device_text + ": device_id is not " + std::to_string(device_id) +
                        "; devices must stand in order");
        const std::vector<int> local =
            json_integers(json_member(device, "device_expert", device_text),
                          device_text + ": device_expert", 0, kMaxNumSlots - 1);
        if (slots_per_rank == 0)
            slots_per_rank = local.size();
        if (local.empty() || local.size() != slots_per_rank)
            throw Error(device_text + ": has " + std::to_string(local.size()) +
                        " slots where the first device of the first layer has " +
                        std::to_string(slots_per_rank) +
                        "; most versions of vllm-ascend need as many on all, and at least one");
        expert_ids.insert(expert_ids.end(), local.begin(), local.end());
        ++device_id;
    }
    return expert_ids;
}

EngineConfig parse_vllm_ascend(const ConfigText& text, const ConfigContext& context) {
    const auto& [bytes, root, name] = text;
    require_object(root, name + ": the content");
    EngineConfig config;
    config.has_all_moe_layers = true;
    std::vector<std::vector<int>> rows;
    std::size_t slots_per_rank = 0;  // the same for all devices of all layers
    bool ids_are_positions = true;
    for (const json& layer : counted_list(root, "moe_layer_count", "layer_list", name)) {
        const int position = static_cast<int>(rows.size());
        const std::string where = name + ": layer_list: entry " + std::to_string(position);
        require_object(layer, where);
        ids_are_positions &= json_integer(json_member(layer, "layer_id", where),
                                          where + ": layer_id", 0, kMaxNumSlots) == position;
        const json& devices = counted_list(layer, "device_count", "device_list", where);
        const int num_devices = static_cast<int>(devices.size());
        if (position > 0 && num_devices != config.ep_size)
            throw Error(where + ": has " + std::to_string(num_devices) +
                        " devices where entry 0 has " + std::to_string(config.ep_size));
        config.ep_size = num_devices;
        rows.push_back(parse_devices(devices, slots_per_rank, where));
    }
    config.config.num_slots = static_cast<int>(rows.front().size());
    config.config.initial_global_assignments = layers_by_position(std::move(rows), context, name);
    if (!ids_are_positions)
        config.warnings.push_back(name +
                                  ": layer_id is not always the position in layer_list; "
                                  "vllm-ascend goes by the position alone, and so was it read");
    return config;
}

std::string write_vllm_ascend(const EngineConfig& config, const ConfigContext& context) {
    const std::map<int, std::vector<int>>& layers = config.config.initial_global_assignments;
    if (config.ep_size < 1)
        throw Error("vllm-ascend's format has a list for each device; give " + setting("ep_size"));
    require_moe_layers(config.config, context);
    const int slots_per_rank = config.config.num_slots / config.ep_size;
    std::string text =
        "{\"moe_layer_count\": " + std::to_string(layers.size()) + ", \"layer_list\": [\n";
    int position = 0;
    for (const auto& [layer, expert_ids] : layers) {
        text += (position == 0 ? "" : ",\n") + std::string("{\"layer_id\": ") +
                std::to_string(position) + ", \"device_count\": " + std::to_string(config.ep_size) +
                ", \"device_list\": [";
        for (int device_id = 0; device_id < config.ep_size; ++device_id) {
            const auto begin = expert_ids.begin() + device_id * slots_per_rank;
            text += (device_id == 0 ? "\n" : ",\n") + std::string(" {\"device_id\": ") +
                    std::to_string(device_id) +
                    ", \"device_expert\": " + format_slot_row({begin, begin + slots_per_rank}) +
                    "}";
        }
        text += "]}";
        ++position;
    }
    return text + "\n]}\n";
}

}  // namespace

constinit const ConfigCodec vllm_ascend_codec = {
    .format = ConfigFormat::vllm_ascend,
    .name = "vllm-ascend",
    .own_key = "layer_list",
    .parse = parse_vllm_ascend,
    .write = write_vllm_ascend,
};

}  // namespace eplb
