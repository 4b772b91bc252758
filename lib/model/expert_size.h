#ifndef EPLB_MODEL_EXPERT_SIZE_H
#define EPLB_MODEL_EXPERT_SIZE_H

#include <string>

#include "lib/model/model_json.h"

namespace eplb {

// One routed expert: three matrices of hidden_size x moe_intermediate_size (or intermediate_size,
// where all layers are MoE layers).
struct ExpertSize {
    int hidden_size = 0;
    int intermediate_size = 0;
    double bytes_per_weight = 0;  // scales included
    std::string dtype;            // "fp8", "mxfp4", "bf16", "f16", "f32"

    double bytes() const { return 3.0 * hidden_size * intermediate_size * bytes_per_weight; }
};

// In the model's dtype; quantised as quantization_config says (fp8: 1 byte and a float per block;
// mxfp4: 4 bits and an exponent per 32). Error: a field is missing or no number, or the
// quantisation is none of these.
ExpertSize expert_size(const ModelJson& model);

// expert_size().bytes().
double expert_bytes(const ModelJson& model);

}  // namespace eplb

#endif
