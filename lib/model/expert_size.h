#ifndef EPLB_MODEL_EXPERT_SIZE_H
#define EPLB_MODEL_EXPERT_SIZE_H

#include "lib/model/model_json.h"

namespace eplb {

// Bytes that the weights of one routed expert take: three matrices of hidden_size x
// moe_intermediate_size (or intermediate_size, where all layers are MoE layers), in the model's
// dtype; quantised as quantization_config says (fp8: 1 byte and a float per block; mxfp4: 4 bits
// and an exponent per 32). Error: a field is missing or no number, or the quantisation is none of
// these.
double expert_bytes(const ModelJson& model);

}  // namespace eplb

#endif
