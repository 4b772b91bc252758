// Which format a text is of.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"

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

// The two formats that look alike: by their rows, as far as the model is known.
const ConfigCodec& recognize_rows(const json& map,
                                  const std::string& name,
                                  const ConfigContext& context) {
    const int num_rows = map.is_array() ? static_cast<int>(map.size()) : 0;
    const int num_moe_layers = static_cast<int>(context.moe_layers.size());
    if (num_moe_layers > 0) {
        const int num_layers = context.num_hidden_layers > 0 ? context.num_hidden_layers
                                                             : context.moe_layers.back() + 1;
        if (num_rows == num_layers)  // where all of them are MoE layers, both mean the same
            return sglang_codec;
        if (num_rows == num_moe_layers)
            return hygon_codec;
    }
    throw Error(name +
                ": is SGLang's (a row for each decoder layer) or hygon's older format (a row "
                "for each MoE layer), and its " +
                std::to_string(num_rows) + " rows do not tell; name it, " +
                setting("config_format") + " sglang or hygon, or give " + setting("model_config"));
}

}  // namespace

// Yaml may start with a brace too, but only JSON puts the first key in double quotes.
bool looks_like_json(std::string_view text) {
    const std::size_t bracket = text.find_first_not_of(kSpace);
    if (bracket == std::string_view::npos || (text[bracket] != '{' && text[bracket] != '['))
        return false;
    const std::size_t next = text.find_first_not_of(kSpace, bracket + 1);
    return text[bracket] == '[' || next == std::string_view::npos || text[next] == '"' ||
           text[next] == '}';
}

const ConfigCodec& recognize_json(const json& root,
                                  const std::string& name,
                                  const ConfigContext& context) {
    require_object(root, name + ": the content");
    // from the last: plain has the keys of others too
    const std::span<const ConfigCodec* const> codecs = config_codecs();
    const auto found = std::find_if(codecs.rbegin(), codecs.rend(), [&](const ConfigCodec* codec) {
        return codec->own_key != nullptr && root.contains(codec->own_key);
    });
    if (found != codecs.rend())
        return **found;
    if (const json* const map = find_json_member(root, "physical_to_logical_map"))
        return describes_itself(root) ? hygon_codec : recognize_rows(*map, name, context);
    if (root.contains("logical_count"))
        throw Error(name +
                    ": holds counts (\"logical_count\"), no placement; it is read where "
                    "statistics are");
    throw Error(name +
                ": has the keys of no known format; expected is one of format, model_maps, "
                "layer_list, num_slots and physical_to_logical_map");
}

ConfigFormat recognize_config(std::string_view text,
                              const std::string& name,
                              const ConfigContext& context) {
    if (!looks_like_json(text))
        return trtllm_codec.format;
    return recognize_json(parse_strict_json(text, name), name, context).format;
}

std::optional<ConfigFormat> told_format(std::string_view text,
                                        const std::string& name,
                                        const ConfigContext& context) {
    try {
        const ConfigFormat format = recognize_config(text, name, context);
        return codec_of(format).looks_like_another ? std::nullopt : std::optional(format);
    } catch (const Error&) {
        return std::nullopt;
    }
}

}  // namespace eplb
