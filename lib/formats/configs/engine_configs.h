#ifndef EPLB_FORMATS_CONFIGS_ENGINE_CONFIGS_H
#define EPLB_FORMATS_CONFIGS_ENGINE_CONFIGS_H

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "lib/formats/configs/config_file.h"

// The formats that config_file.h chooses between, one file each. parse_… take a text's JSON and
// check what is the format's own; what every config must keep to is complete_config()'s, which
// config_file.cpp calls after them (and they, where they need num_experts). format_…
// take a config that complete_config() passed, with its context. judge_… add what the engine would
// say of a config that was read without an Error.
namespace eplb {

// sglang_config.cpp
EngineConfig parse_sglang_config(const nlohmann::json& root,
                                 const std::string& name,
                                 const ConfigContext& context);
std::string format_sglang_config(const EngineConfig& config, const ConfigContext& context);
void judge_sglang_config(const EngineConfig& config,
                         const std::string& name,
                         ConfigVerdict& verdict);

// vllm_ascend_map.cpp
EngineConfig parse_vllm_ascend_map(const nlohmann::json& root,
                                   const std::string& name,
                                   const ConfigContext& context);
std::string format_vllm_ascend_map(const EngineConfig& config, const ConfigContext& context);
void judge_vllm_ascend_map(const EngineConfig& config,
                           const std::string& name,
                           ConfigVerdict& verdict);

// hygon_map.cpp
EngineConfig parse_hygon_map(const nlohmann::json& root,
                             const std::string& name,
                             const ConfigContext& context);
std::string format_hygon_map(const EngineConfig& config, const ConfigContext& context);
void judge_hygon_map(const EngineConfig& config, const std::string& name, ConfigVerdict& verdict);

// plain_config.cpp
EngineConfig parse_plain_config(const nlohmann::json& root, const std::string& name);
std::string format_plain_config(const EngineConfig& config);
void judge_plain_config(const EngineConfig& config,
                        const std::string& name,
                        const ModelShape& model,
                        ConfigVerdict& verdict);

// trtllm_rules.cpp; lib/formats/eplb_config.h reads and writes
void judge_trtllm_config(const EngineConfig& config,
                         const std::string& name,
                         const ModelShape& model,
                         ConfigVerdict& verdict);

}  // namespace eplb

#endif
