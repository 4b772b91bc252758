// A model's config.json.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/base/error.h"
#include "lib/formats/model_shape.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace eplb;
    try {
        const ModelShape shape =
            parse_model_shape(std::string_view(reinterpret_cast<const char*>(data), size), "input");
        int least = 0;
        for (const int layer : shape.moe_layers) {
            if (layer < least || layer >= shape.num_hidden_layers)
                std::abort();
            least = layer + 1;
        }
        if (shape.moe_layers.empty() || shape.top_k < 1 || shape.top_k > shape.num_experts ||
            shape.num_mtp_layers < 0)
            std::abort();
    } catch (const Error&) {
    }
    return 0;
}
