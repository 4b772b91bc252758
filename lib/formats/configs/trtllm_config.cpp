// TensorRT-LLM's yaml, which eplb_config.h reads and writes, among the others.
#include <nlohmann/json.hpp>

#include "lib/formats/configs/config_codec.h"
#include "lib/formats/configs/eplb_config.h"

namespace eplb {
namespace {

EngineConfig parse_trtllm(const ConfigText& text, const ConfigContext& context) {
    EngineConfig config;
    config.config = parse_eplb_config(std::string(text.text), text.name,
                                      {context.num_experts, context.ep_size});
    return config;
}

std::string write_trtllm(const EngineConfig& config, const ConfigContext&) {
    return format_eplb_config(config.config);
}

}  // namespace

constinit const ConfigCodec trtllm_codec = {
    .format = ConfigFormat::trtllm,
    .name = "trtllm",
    .is_json = false,
    .holds_online_config = true,
    .own_key = "num_slots",  // JSON is yaml
    .parse = parse_trtllm,
    .write = write_trtllm,
};

}  // namespace eplb
