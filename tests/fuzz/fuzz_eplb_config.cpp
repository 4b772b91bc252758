#include <cstdint>
#include <cstdlib>
#include <string>

#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const eplb::EplbConfig config =
            eplb::parse_eplb_config({reinterpret_cast<const char*>(data), size}, "input");
        const std::string text = eplb::format_eplb_config(config);
        const eplb::EplbConfig again = eplb::parse_eplb_config(text, "what was written");
        if (eplb::format_eplb_config(again) != text)
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
