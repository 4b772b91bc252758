#include "lib/model/decode.h"

#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"

// Stored weights to fp32 or bf16.
namespace eplb::cuda {
namespace {

// Neighbouring values that a thread decodes at once: as much as one load of 16-bit weights gives,
// and within one block of any format's scales.
constexpr int kRun = 8;

// Bytes to registers, in loads as wide as the address allows: checkpoints align nothing.
template <int kBytes>
__device__ void load_bytes(const std::byte* from, std::byte* to) {
    constexpr int kWide = kBytes < 16 ? kBytes : 16;
    if (reinterpret_cast<std::uintptr_t>(from) % kWide != 0) {
#pragma unroll
        for (int i = 0; i < kBytes; ++i)
            to[i] = from[i];
        return;
    }
#pragma unroll
    for (int i = 0; i < kBytes; i += kWide)
        if constexpr (kWide == 16)
            *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
        else if constexpr (kWide == 8)
            *reinterpret_cast<uint2*>(to + i) = *reinterpret_cast<const uint2*>(from + i);
        else
            *reinterpret_cast<unsigned*>(to + i) = *reinterpret_cast<const unsigned*>(from + i);
}

template <WeightType kType>
constexpr int kHalfBytes = kType == WeightType::f32       ? 8  // of one value
                           : kType == WeightType::f8_e4m3 ? 2
                           : kType == WeightType::mxfp4   ? 1
                                                          : 4;

// Values [column, column + kRun) of a stored row, of which the first `count` are there.
template <WeightType kType>
__device__ void decode_run(
    const WeightMatrix& matrix, std::size_t stored_row, int column, int count, float* values) {
    constexpr int kBytes = kRun * kHalfBytes<kType> / 2;
    const auto num_columns = static_cast<std::size_t>(matrix.num_columns);
    const std::byte* const from =
        matrix.data +
        (stored_row * num_columns + static_cast<std::size_t>(column)) * kHalfBytes<kType> / 2;
    alignas(16) std::byte bytes[kBytes] = {};
    if (count == kRun) {
        load_bytes<kBytes>(from, bytes);
    } else {
#pragma unroll
        for (int i = 0; i < kBytes; ++i)
            if (2 * i < count * kHalfBytes<kType>)
                bytes[i] = from[i];
    }
    float scale = 1;
    if constexpr (kType == WeightType::f8_e4m3) {
        constexpr std::size_t kBlock = WeightMatrix::kScaleBlock;
        scale =
            detail::f8_scale(matrix, stored_row / kBlock * ((num_columns + kBlock - 1) / kBlock) +
                                         static_cast<std::size_t>(column) / kBlock);
    } else if constexpr (kType == WeightType::mxfp4) {
        constexpr std::size_t kBlock = WeightMatrix::kMxBlock;
        scale = decode_e8m0(
            static_cast<std::uint8_t>(matrix.scales[stored_row * (num_columns / kBlock) +
                                                    static_cast<std::size_t>(column) / kBlock]));
    }
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
        if constexpr (kType == WeightType::f32)
            values[i] = detail::load<float>(bytes + 4 * i);
        else if constexpr (kType == WeightType::f16)
            values[i] = decode_f16(detail::load<std::uint16_t>(bytes + 2 * i));
        else if constexpr (kType == WeightType::bf16)
            values[i] = decode_bf16(detail::load<std::uint16_t>(bytes + 2 * i));
        else if constexpr (kType == WeightType::f8_e4m3)
            values[i] = decode_f8_e4m3(static_cast<std::uint8_t>(bytes[i])) * scale;
        else
            values[i] =
                decode_f4_e2m1(static_cast<std::uint32_t>(bytes[i / 2]) >> (i % 2 * 4)) * scale;
    }
}

template <typename Output>
__device__ void store_run(const float* values, int count, Output* to) {
    alignas(16) Output run[kRun];
#pragma unroll
    for (int i = 0; i < kRun; ++i)
        store(values[i], run + i);
    if (count == kRun && reinterpret_cast<std::uintptr_t>(to) % sizeof(uint4) == 0) {
        constexpr int kStored = static_cast<int>(sizeof(uint4) / sizeof(Output));  // at once
#pragma unroll
        for (int i = 0; i < kRun; i += kStored)
            *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(run + i);
    } else {
#pragma unroll
        for (int i = 0; i < kRun; ++i)
            if (i < count)
                to[i] = run[i];
    }
}

// Row r of the output is row row_ids[r], or first_row + r where row_ids is null.
template <WeightType kType, typename Output>
__global__ void __launch_bounds__(kRowThreads) decode_kernel(WeightMatrix matrix,
                                                             const std::int32_t* row_ids,
                                                             int first_row,
                                                             std::int64_t num_rows,
                                                             Output* output) {
    const int num_runs = (matrix.num_columns + kRun - 1) / kRun;
    for_row_values(num_rows, num_runs, [&](std::int64_t row, int run) {
        const std::int64_t matrix_row = row_ids == nullptr ? first_row + row : row_ids[row];
        const auto stored_row =
            static_cast<std::size_t>(matrix.first_row + matrix_row * matrix.row_step);
        const int column = run * kRun;
        const int left = matrix.num_columns - column;
        const int count = left < kRun ? left : kRun;
        float values[kRun];
        decode_run<kType>(matrix, stored_row, column, count, values);
        store_run(values, count, output + row * matrix.num_columns + column);
    });
}

template <typename Output>
void launch_decode(const WeightMatrix& matrix,
                   const std::int32_t* row_ids,
                   int first_row,
                   std::int64_t num_rows,
                   Output* output,
                   cudaStream_t stream) {
    if (num_rows == 0 || matrix.num_columns == 0)
        return;
    const auto with = [&](auto kernel) {
        launch("decode", kernel, row_grid(num_rows, ceil_div(matrix.num_columns, kRun)),
               kRowThreads, 0, stream, matrix, row_ids, first_row, num_rows, output);
    };
    switch (matrix.type) {
        case WeightType::f32:
            return with(decode_kernel<WeightType::f32, Output>);
        case WeightType::f16:
            return with(decode_kernel<WeightType::f16, Output>);
        case WeightType::bf16:
            return with(decode_kernel<WeightType::bf16, Output>);
        case WeightType::f8_e4m3:
            return with(decode_kernel<WeightType::f8_e4m3, Output>);
        case WeightType::mxfp4:
            return with(decode_kernel<WeightType::mxfp4, Output>);
    }
}

}  // namespace

void decode(
    const WeightMatrix& matrix, int first_row, int num_rows, float* output, cudaStream_t stream) {
    launch_decode(matrix, nullptr, first_row, num_rows, output, stream);
}

void decode(const WeightMatrix& matrix,
            int first_row,
            int num_rows,
            std::uint16_t* output,
            cudaStream_t stream) {
    launch_decode(matrix, nullptr, first_row, num_rows, output, stream);
}

void embed(const WeightMatrix& table,
           const std::int32_t* token_ids,
           std::int64_t num_tokens,
           float* output,
           cudaStream_t stream) {
    launch_decode(table, token_ids, 0, num_tokens, output, stream);
}

}  // namespace eplb::cuda
