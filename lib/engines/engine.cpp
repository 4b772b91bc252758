#include "lib/engines/engine.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace eplb {
namespace {

constexpr std::array kEngines = {&trtllm_engine, &sglang_engine, &vllm_engine, &vllm_ascend_engine,
                                 &hygon_engine};

}  // namespace

std::span<const Engine* const> engines() {
    return kEngines;
}

std::vector<const Engine*> loading_engines() {
    std::vector<const Engine*> loading;
    std::ranges::copy_if(kEngines, std::back_inserter(loading),
                         [](const Engine* engine) { return engine->config_format.has_value(); });
    return loading;
}

const Engine& default_engine() {
    return *kEngines.front();
}

const Engine* engine_of(ConfigFormat format) {
    const auto found = std::ranges::find(kEngines, format, &Engine::config_format);
    return found == kEngines.end() ? nullptr : *found;
}

LayerNumbering layer_numbering(ConfigFormat format) {
    const Engine* const engine = engine_of(format);
    return engine == nullptr ? LayerNumbering::layer_id : engine->layer_numbering;
}

}  // namespace eplb
