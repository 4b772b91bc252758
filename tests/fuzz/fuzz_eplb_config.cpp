#include <cstdlib>
#include <string>

#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target eplb_config_target("eplb_config", [](std::string_view input) {
    try {
        const eplb::EplbConfig config = eplb::parse_eplb_config(std::string(input), "input");
        const std::string text = eplb::format_eplb_config(config);
        const eplb::EplbConfig again = eplb::parse_eplb_config(text, "what was written");
        if (eplb::format_eplb_config(again) != text)
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
