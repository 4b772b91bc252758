#ifndef EPLB_MODEL_ACTIVATION_H
#define EPLB_MODEL_ACTIVATION_H

#include <algorithm>

#include "lib/base/host_device.h"
#include "lib/model/router_math.h"

// What stands between the halves of an MLP, value by value, for the CPU and the GPU.
namespace eplb {

EPLB_HOST_DEVICE float swiglu_f32(float gate, float up) {
    return gate * sigmoid_f32(gate) * up;
}

EPLB_HOST_DEVICE float clamped_swiglu_f32(float gate, float up, float limit) {
    const float g = std::min(gate, limit);
    const float u = std::min(std::max(up, -limit), limit);
    return (u + 1.0F) * (g * sigmoid_f32(1.702F * g));
}

}  // namespace eplb

#endif
