#include <string>

#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"
#include "tests/fuzz/fuzz_target.h"

// The files of several layers in one input: a form feed stands between them.
const eplb::fuzz::Target esft_text_target("esft_text", [](std::string_view input) {
    std::vector<eplb::EsftLayer> layers = {{0, "layer 0", ""}};
    for (const char byte : input) {
        const int next = static_cast<int>(layers.size());
        if (byte == '\f')
            layers.push_back({next, "layer " + std::to_string(next), ""});
        else
            layers.back().text += byte;
    }
    eplb::test::check_table([&] { return eplb::parse_esft_text(layers, 0); });
});
