#include "lib/formats/configs/config_file.h"

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/config_rules.h"

namespace eplb {
namespace {

constexpr std::array kCodecs = {&trtllm_codec, &sglang_codec, &vllm_ascend_codec, &hygon_codec,
                                &plain_codec};

void check_context(const ConfigContext& context) {
    if (context.num_experts < 0 || context.ep_size < 0 || context.num_hidden_layers < 0 ||
        context.num_hidden_layers > kMaxNumLayers)
        throw Error("the model's " + setting("num_experts") + ", " + setting("num_hidden_layers") +
                    " or " + setting("ep_size") + " is out of range");
    if (context.first_moe_layer &&
        (*context.first_moe_layer < 0 || *context.first_moe_layer >= kMaxNumLayers))
        throw Error(setting("first_moe_layer") + " " + std::to_string(*context.first_moe_layer) +
                    " is out of range");
    int least = 0;
    for (const int layer : context.moe_layers) {
        if (layer < least || layer >= kMaxNumLayers)
            throw Error("the ids of MoE layers must rise from 0 on; layer " +
                        std::to_string(layer) + " does not fit");
        least = layer + 1;
    }
}

// What the config and its format must agree on before anything is written.
void require_sayable(const EplbConfig& config, const ConfigCodec& codec) {
    if (codec.holds_online_config)
        return;
    const std::string format_text = std::string("the ") + codec.name + " format ";
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

std::span<const ConfigCodec* const> config_codecs() {
    return kCodecs;
}

const ConfigCodec& codec_of(ConfigFormat format) {
    return *kCodecs[static_cast<std::size_t>(format)];
}

std::vector<std::string> config_format_names() {
    std::vector<std::string> names;
    for (const ConfigCodec* const codec : kCodecs)
        names.emplace_back(codec->name);
    return names;
}

std::string config_format_name(ConfigFormat format) {
    return codec_of(format).name;
}

ConfigFormat config_format_of(const std::string& name) {
    std::string known;
    for (const ConfigCodec* const codec : kCodecs) {
        if (codec->name == name)
            return codec->format;
        known += (known.empty() ? "" : ", ") + std::string(codec->name);
    }
    throw Error("no config format is named '" + name + "'; known are " + known);
}

ConfigContext context_of(const ModelShape& model, int ep_size) {
    return {model.num_experts, ep_size, model.num_hidden_layers, model.moe_layers, ""};
}

EngineConfig parse_config(std::string_view text,
                          const std::string& name,
                          const ConfigContext& context,
                          std::optional<ConfigFormat> format) {
    check_context(context);
    const ConfigCodec* codec = format ? &codec_of(*format) : nullptr;
    if (codec == nullptr && !looks_like_json(text))
        codec = &trtllm_codec;
    nlohmann::json root;
    if (codec == nullptr || codec->is_json)
        root = parse_strict_json(text, name);
    if (codec == nullptr)
        codec = &recognize_json(root, name, context);
    EngineConfig config = codec->parse({text, root, name}, context);
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
    const ConfigCodec& codec = codec_of(format);
    require_sayable(complete.config, codec);
    return codec.write(complete, context);
}

ConfigVerdict check_config(std::string_view text,
                           const std::string& name,
                           const Engine& engine,
                           const ModelShape& model,
                           int ep_size,
                           const std::string& model_key) {
    if (!engine.config_format)
        return {{name + ": " + engine.title + " loads no config"}, {}};
    ConfigContext context = context_of(model, ep_size);
    context.model_key = model_key;
    ConfigVerdict verdict;
    EngineConfig config;
    try {
        config = parse_config(text, name, context, engine.config_format);
    } catch (const Error& error) {
        verdict.errors.push_back(error.what());
        return verdict;
    }
    verdict.warnings = config.warnings;
    engine.judge({.name = name,
                  .config = config.config,
                  .ep_size = config.ep_size,
                  .moe_layers = model.moe_layers,
                  .num_hidden_layers = model.num_hidden_layers,
                  .num_mtp_layers = model.num_mtp_layers},
                 verdict);
    return verdict;
}

}  // namespace eplb
