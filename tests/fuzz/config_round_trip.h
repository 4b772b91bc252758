#ifndef EPLB_TESTS_FUZZ_CONFIG_ROUND_TRIP_H
#define EPLB_TESTS_FUZZ_CONFIG_ROUND_TRIP_H

#include <cstdlib>
#include <string_view>

#include "lib/base/error.h"
#include "lib/formats/configs/config_file.h"

namespace eplb::fuzz {

// The model that data/corpus holds configs for, in as far as readers need it.
inline ConfigContext corpus_context() {
    ConfigContext context;
    context.moe_layers = {1, 2, 4};
    return context;
}

// Reads bytes as a config. One that is read must be written, and then read as the same.
inline void config_round_trip(std::string_view text, ConfigFormat format, ConfigContext context) {
    EngineConfig config;
    try {
        config = parse_config(text, "input", context, format);
    } catch (const Error&) {
        return;
    }
    // what the file did not say and the format asks for
    context.num_hidden_layers = 5;
    if (context.ep_size == 0 && config.ep_size == 0)
        context.ep_size = 1;
    if (config.model_key.empty())
        config.model_key = "key";
    const std::string written = format_config(config, format, context);
    const EngineConfig again = parse_config(written, "written", context, format);
    if (again.config != config.config || again.num_experts != config.num_experts ||
        format_config(again, format, context) != written)
        std::abort();
}

}  // namespace eplb::fuzz

#endif
