#include <cstdint>
#include <string>

#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"

// The files of several layers in one input: a form feed stands between them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<eplb::EsftLayer> layers = {{0, "layer 0", ""}};
    for (const char byte : std::string_view(reinterpret_cast<const char*>(data), size)) {
        const int next = static_cast<int>(layers.size());
        if (byte == '\f')
            layers.push_back({next, "layer " + std::to_string(next), ""});
        else
            layers.back().text += byte;
    }
    eplb::test::check_table([&] { return eplb::parse_esft_text(layers, 0); });
    return 0;
}
