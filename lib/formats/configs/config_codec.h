#ifndef EPLB_FORMATS_CONFIGS_CONFIG_CODEC_H
#define EPLB_FORMATS_CONFIGS_CONFIG_CODEC_H

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "lib/formats/configs/config_file.h"

namespace eplb {

// A file that is read. Its JSON is null where the format is none, or the text not read as such.
struct ConfigText {
    std::string_view text;
    const nlohmann::json& root;
    const std::string& name;  // for messages
};

// A format that config_file.h chooses, reads and writes.
struct ConfigCodec {
    ConfigFormat format;
    const char* name;  // in options: "vllm-ascend"
    bool is_json = true;

    // Whether it can leave the placement to the engine, and holds layer_updates_per_iter.
    bool holds_online_config = false;

    // The member by which JSON is told to be of this format; null: there is none.
    const char* own_key = nullptr;

    // Another format's files have the same members: only the model tells them apart.
    bool looks_like_another = false;

    // Checks what is the format's own; what every config must keep to is complete_config()'s, which
    // is called behind it (and by it, where it needs num_experts).
    EngineConfig (*parse)(const ConfigText& text, const ConfigContext& context);

    // Of a config that complete_config() passed, with its context.
    std::string (*write)(const EngineConfig& config, const ConfigContext& context);
};

// One file each.
extern const ConfigCodec trtllm_codec;
extern const ConfigCodec sglang_codec;
extern const ConfigCodec vllm_ascend_codec;
extern const ConfigCodec hygon_codec;
extern const ConfigCodec plain_codec;

// In the order of the enum.
std::span<const ConfigCodec* const> config_codecs();

const ConfigCodec& codec_of(ConfigFormat format);

// The format of a text; Error as recognize_config(). root: its JSON, not looked at where the text
// is yaml.
bool looks_like_json(std::string_view text);
const ConfigCodec& recognize_json(const nlohmann::json& root,
                                  const std::string& name,
                                  const ConfigContext& context);

}  // namespace eplb

#endif
