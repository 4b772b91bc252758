#include <numeric>

#include "lib/base/error.h"
#include "lib/model/model_config.h"

namespace eplb {
namespace {

std::vector<int> layer_range(int first, int last) {
    std::vector<int> layers(last - first + 1);
    std::iota(layers.begin(), layers.end(), first);
    return layers;
}

RouterSpec sigmoid_router(int num_experts, int top_k, int num_groups, int top_groups, float scale) {
    return {.score_function = ScoreFunction::sigmoid,
            .num_experts = num_experts,
            .top_k = top_k,
            .has_bias = true,
            .num_groups = num_groups,
            .top_groups = top_groups,
            .group_score = GroupScore::top2_sum,
            .normalize = true,
            .scale = scale};
}

RouterSpec softmax_router(int num_experts, int top_k, bool normalize, float scale = 1.0F) {
    return {.score_function = ScoreFunction::softmax,
            .num_experts = num_experts,
            .top_k = top_k,
            .group_score = GroupScore::maximum,
            .normalize = normalize,
            .scale = scale};
}

// small enough that 30 iterations of the largest preset take seconds on two cores
constexpr int kHidden = 64;
constexpr int kIntermediate = 16;

MoeModelConfig shape(const char* name,
                     std::vector<int> layers,
                     const RouterSpec& router,
                     int num_shared_experts,
                     int vocab_size) {
    return {.name = name,
            .layers = std::move(layers),
            .router = router,
            .hidden_size = kHidden,
            .intermediate_size = kIntermediate,
            .shared_intermediate_size = num_shared_experts * kIntermediate,
            .vocab_size = vocab_size};
}

std::vector<Preset> make_presets() {
    // DeepSeek-R1's range is that of the table in TensorRT-LLM's blog 4 (32 ranks: 0.46 to 2.46,
    // on average 1.56); the others are set by analogy
    return {
        {.model = shape("deepseek-r1", layer_range(3, 60), sigmoid_router(256, 8, 8, 4, 2.5F), 1,
                        129280),
         .default_ep_size = 32,
         .skew_ranks = 32,
         .skew_first = 0.5,
         .skew_low = 1.3,
         .skew_high = 1.95},
        {.model =
             shape("kimi-k2", layer_range(1, 60), sigmoid_router(384, 8, 1, 1, 2.827F), 1, 163840),
         .default_ep_size = 32,
         .skew_ranks = 32,
         .skew_first = 0.5,
         .skew_low = 1.0,
         .skew_high = 2.0},
        {.model =
             shape("deepseek-v2-lite", layer_range(1, 26), softmax_router(64, 6, false), 2, 102400),
         .default_ep_size = 8,
         .skew_ranks = 8,
         .skew_first = 0.3,
         .skew_low = 0.3,
         .skew_high = 0.8},
        {.model =
             shape("qwen3-235b-a22b", layer_range(0, 93), softmax_router(128, 8, true), 0, 151936),
         .default_ep_size = 32,
         .skew_ranks = 32,
         .skew_first = 0.5,
         .skew_low = 0.8,
         .skew_high = 1.8},
        {.model =
             shape("qwen3-30b-a3b", layer_range(0, 47), softmax_router(128, 8, true), 0, 151936),
         .default_ep_size = 8,
         .skew_ranks = 8,
         .skew_first = 0.3,
         .skew_low = 0.4,
         .skew_high = 1.0},
        {.model = shape("mixtral-8x7b", layer_range(0, 31), softmax_router(8, 2, true), 0, 32000),
         .default_ep_size = 8,
         .skew_ranks = 8,
         .skew_first = 0.2,
         .skew_low = 0.2,
         .skew_high = 0.7},
    };
}

}  // namespace

const std::vector<Preset>& presets() {
    static const std::vector<Preset> all = make_presets();
    return all;
}

const Preset& find_preset(std::string_view name) {
    std::string known;
    for (const Preset& preset : presets()) {
        if (preset.model.name == name)
            return preset;
        known += (known.empty() ? "" : ", ") + preset.model.name;
    }
    throw Error("preset '" + std::string(name) + "' is unknown; there are " + known);
}

}  // namespace eplb
