#ifndef EPLB_MODEL_DECODE_H
#define EPLB_MODEL_DECODE_H

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/base/host_device.h"
#include "lib/model/weight_matrix.h"

// Weights to fp32, exactly, by integer operations that vectorize: no table, no branch per value.
// Data need not be aligned. Sources: IEEE 754 (f16), the OCP 8-bit floating point and microscaling
// specifications (E4M3, E2M1, E8M0).
namespace eplb {

namespace detail {

// The magnitude of a binary number without its infinities and NaNs: the significand, an integer,
// times a power of two. No choice between results, which compilers do not vectorize.
template <int kExponentBits, int kMantissaBits>
EPLB_HOST_DEVICE float binary_magnitude(std::uint32_t bits) {
    constexpr std::uint32_t kBias = (1U << (kExponentBits - 1)) - 1;
    const std::uint32_t exponent = bits >> kMantissaBits;
    // 0 stands for subnormal numbers, of exponent 1 and without the leading bit
    const std::uint32_t leading = std::min(exponent, 1U) << kMantissaBits;
    const std::uint32_t significand = (bits & ((1U << kMantissaBits) - 1)) + leading;
    const std::uint32_t power = std::max(exponent, 1U) + (127 - kBias - kMantissaBits);
    return static_cast<float>(static_cast<std::int32_t>(significand)) *
           std::bit_cast<float>(power << 23);
}

EPLB_HOST_DEVICE float add_bits(float value, std::uint32_t bits) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) + bits);
}

}  // namespace detail

EPLB_HOST_DEVICE float decode_f16(std::uint16_t bits) {
    const std::uint32_t magnitude = bits & 0x7fffU;
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    // infinities and NaNs, from the exponent of 2^16 to the largest
    const std::uint32_t special = magnitude >= 0x7c00U ? 112U << 23 : 0U;
    return detail::add_bits(detail::binary_magnitude<5, 10>(magnitude), sign + special);
}

EPLB_HOST_DEVICE float decode_bf16(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// E4M3: no infinity, one NaN per sign.
EPLB_HOST_DEVICE float decode_f8_e4m3(std::uint8_t bits) {
    const std::uint32_t magnitude = bits & 0x7fU;
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24;
    // from what would be 480 to a NaN
    const std::uint32_t special = magnitude == 0x7fU ? 120U << 23 : 0U;
    return detail::add_bits(detail::binary_magnitude<4, 3>(magnitude), sign + special);
}

// E2M1, of the low four bits: 0, .5, 1, 1.5, 2, 3, 4, 6, and these negative.
EPLB_HOST_DEVICE float decode_f4_e2m1(std::uint32_t bits) {
    return detail::add_bits(detail::binary_magnitude<2, 1>(bits & 7U), (bits & 8U) << 28);
}

// E8M0: 2^(bits - 127), 255 is NaN.
EPLB_HOST_DEVICE float decode_e8m0(std::uint8_t bits) {
    const std::uint32_t value = bits == 0     ? 0x00400000U  // 2^-127 is subnormal
                                : bits == 255 ? 0x7fc00000U
                                              : static_cast<std::uint32_t>(bits) << 23;
    return std::bit_cast<float>(value);
}

namespace detail {

template <typename T>
EPLB_HOST_DEVICE T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

// The factor of a block of an f8_e4m3 matrix.
EPLB_HOST_DEVICE float f8_scale(const WeightMatrix& matrix, std::size_t block) {
    return matrix.scale_type == WeightType::f32
               ? load<float>(matrix.scales + block * 4)
               : decode_bf16(load<std::uint16_t>(matrix.scales + block * 2));
}

}  // namespace detail

// Columns [first_column, first_column + count) of a row; for mxfp4 both must be even.
inline void decode_row(
    const WeightMatrix& matrix, int row, int first_column, int count, float* __restrict values) {
    using detail::load;
    const auto stored_row =
        static_cast<std::size_t>(matrix.first_row) +
        static_cast<std::size_t>(row) * static_cast<std::size_t>(matrix.row_step);
    const auto num_columns = static_cast<std::size_t>(matrix.num_columns);
    const auto first = static_cast<std::size_t>(first_column);
    const auto size = static_cast<std::size_t>(count);
    switch (matrix.type) {
        case WeightType::f32:
            std::memcpy(values, matrix.data + (stored_row * num_columns + first) * 4, size * 4);
            break;
        case WeightType::f16: {
            const std::byte* const from = matrix.data + (stored_row * num_columns + first) * 2;
            for (std::size_t i = 0; i < size; ++i)
                values[i] = decode_f16(load<std::uint16_t>(from + 2 * i));
            break;
        }
        case WeightType::bf16: {
            const std::byte* const from = matrix.data + (stored_row * num_columns + first) * 2;
            for (std::size_t i = 0; i < size; ++i)
                values[i] = decode_bf16(load<std::uint16_t>(from + 2 * i));
            break;
        }
        case WeightType::f8_e4m3: {
            constexpr std::size_t kBlock = WeightMatrix::kScaleBlock;
            const std::byte* const from = matrix.data + stored_row * num_columns + first;
            const std::size_t first_block =
                stored_row / kBlock * ((num_columns + kBlock - 1) / kBlock);
            for (std::size_t i = 0; i < size;) {
                const std::size_t block = (first + i) / kBlock;
                const std::size_t end = std::min(size, (block + 1) * kBlock - first);
                const float scale = detail::f8_scale(matrix, first_block + block);
                for (; i < end; ++i)
                    values[i] = decode_f8_e4m3(load<std::uint8_t>(from + i)) * scale;
            }
            break;
        }
        case WeightType::mxfp4: {
            constexpr std::size_t kBlock = WeightMatrix::kMxBlock;
            const std::byte* const from = matrix.data + (stored_row * num_columns + first) / 2;
            const std::byte* const scales = matrix.scales + stored_row * (num_columns / kBlock);
            // blocks are too short for a loop over pairs to be vectorized
            for (std::size_t k = 0; k < size / 2; ++k) {
                const std::uint32_t pair = load<std::uint8_t>(from + k);
                values[2 * k] = decode_f4_e2m1(pair);
                values[2 * k + 1] = decode_f4_e2m1(pair >> 4);
            }
            for (std::size_t i = 0; i < size;) {
                const std::size_t block = (first + i) / kBlock;
                const std::size_t end = std::min(size, (block + 1) * kBlock - first);
                const float scale = decode_e8m0(load<std::uint8_t>(scales + block));
                for (; i < end; ++i)
                    values[i] *= scale;
            }
            break;
        }
    }
}

}  // namespace eplb

#endif
