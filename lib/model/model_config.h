#ifndef EPLB_MODEL_MODEL_CONFIG_H
#define EPLB_MODEL_MODEL_CONFIG_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/router.h"

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
