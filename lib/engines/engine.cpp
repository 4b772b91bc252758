#include "lib/engines/engine.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace eplb {
namespace {

constexpr std::array kEngines = {&trtllm_engine, &sglang_engine, &vllm_engine, &vllm_ascend_engine,
                                 &hygon_engine};

template <typename IsWanted>
const Engine* find(const IsWanted& is_wanted) {
    const auto found = std::find_if(kEngines.begin(), kEngines.end(),
                                    [&](const Engine* engine) { return is_wanted(*engine); });
    return found == kEngines.end() ? nullptr : *found;
}

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

const Engine* find_engine(std::string_view name) {
    return find([&](const Engine& engine) { return engine.name == name; });
}

const Engine& default_engine() {
    return *kEngines.front();
}

const Engine* engine_of(ConfigFormat format) {
    return find([&](const Engine& engine) { return engine.config_format == format; });
}

LayerNumbering layer_numbering(ConfigFormat format) {
    const Engine* const engine = engine_of(format);
    return engine == nullptr ? LayerNumbering::layer_id : engine->layer_numbering;
}

}  // namespace eplb
