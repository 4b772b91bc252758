// A model's config.json.
#include <cstdlib>

#include "lib/base/error.h"
#include "lib/model/model_shape.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target model_shape_target("model_shape", [](std::string_view input) {
    using namespace eplb;
    try {
        const ModelShape shape = model_shape(ModelJson::parse(input, "input"));
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
});
