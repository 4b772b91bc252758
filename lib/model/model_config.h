#ifndef EPLB_MODEL_MODEL_CONFIG_H
#define EPLB_MODEL_MODEL_CONFIG_H

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/router.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// The MoE layers of a model, as far as routing and expert computation see them.
struct MoeModelConfig {
    std::string name;
    std::vector<int> layers;  // model layer ids of the MoE layers, ascending
    RouterSpec router;
    int hidden_size = 0;
    int intermediate_size = 0;         // of one routed expert
    int shared_intermediate_size = 0;  // of all shared experts together; 0: none
    int vocab_size = 0;

    int num_layers() const { return static_cast<int>(layers.size()); }
    // Of a layer among the MoE layers: how many stand before it.
    int position(int layer) const {
        return static_cast<int>(std::lower_bound(layers.begin(), layers.end(), layer) -
                                layers.begin());
    }
};

// One MLP with SwiGLU: down(silu(gate x) * (up x)). Its weights are one block, row-major: gate and
// up [intermediate_size][hidden_size], then down [hidden_size][intermediate_size].
struct ExpertShape {
    int hidden_size = 0;
    int intermediate_size = 0;

    std::size_t num_weights() const {
        return 3 * static_cast<std::size_t>(hidden_size) *
               static_cast<std::size_t>(intermediate_size);
    }

    // The three matrices of such a block.
    MlpWeights view(const float* weights) const {
        const auto matrix = [&](int rows, int columns) {
            const WeightMatrix made = {.type = WeightType::f32,
                                       .num_rows = rows,
                                       .num_columns = columns,
                                       .data = reinterpret_cast<const std::byte*>(weights)};
            weights += num_weights() / 3;
            return made;
        };
        MlpWeights mlp;
        mlp.gate = matrix(intermediate_size, hidden_size);
        mlp.up = matrix(intermediate_size, hidden_size);
        mlp.down = matrix(hidden_size, intermediate_size);
        return mlp;
    }
};

// What a layer has besides its routed experts.
struct RouterWeights {
    std::vector<float> norm;    // [hidden_size], of the RMSNorm before the router
    std::vector<float> weight;  // [num_experts][hidden_size]
    std::vector<float> bias;    // [num_experts], or empty
};

// A synthetic model shaped like a published one, hidden sizes scaled down, and how uneven its
// routing is: the imbalance ratio that its layers have on skew_ranks ranks without replicas.
struct Preset {
    MoeModelConfig model;
    int default_ep_size = 0;
    int skew_ranks = 0;     // divides num_experts
    double skew_first = 0;  // of the first three MoE layers, which real models balance best
    double skew_low = 0;    // range of the others
    double skew_high = 0;
};

const std::vector<Preset>& presets();

// Throws an Error that lists the presets if there is none of that name.
const Preset& find_preset(std::string_view name);

}  // namespace eplb

#endif
