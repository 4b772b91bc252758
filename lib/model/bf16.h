#ifndef EPLB_MODEL_BF16_H
#define EPLB_MODEL_BF16_H

#include <bit>
#include <cstdint>

#include "lib/base/host_device.h"

namespace eplb {

// fp32 to bf16, the upper half of its bits: to nearest, ties to even. A NaN stays one.
EPLB_HOST_DEVICE std::uint16_t encode_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U)
        return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace eplb

#endif
