#ifndef EPLB_KERNELS_CUDA_KERNEL_SUPPORT_H
#define EPLB_KERNELS_CUDA_KERNEL_SUPPORT_H

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/model/bf16.h"

// What the kernels share. They are compiled by nvcc, and for tests by any C++ compiler with the
// emulator's headers in place of CUDA's: launches and dynamic shared memory go through here.
namespace eplb::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

template <typename... Parameters, typename... Arguments>
void launch(const char* name,
            void (*kernel)(Parameters...),
            dim3 grid,
            dim3 block,
            std::size_t shared_bytes,
            cudaStream_t stream,
            Arguments... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    const cudaError_t error =
        cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
    if (error != cudaSuccess)
        throw Error(std::string("GPU kernel ") + name + ": " + cudaGetErrorString(error) +
                    "; check that the driver works and that -Dgpu_arch fits the GPU");
}

// The block's dynamic shared memory.
template <typename T>
__device__ T* dynamic_shared() {
#ifdef __CUDACC__
    extern __shared__ __align__(16) unsigned char memory[];
    return reinterpret_cast<T*>(memory);
#else
    return static_cast<T*>(cuda_emulator::dynamic_shared_memory());
#endif
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Values in rows: a warp takes kRowColumns columns of a row, its lanes neighbours of each other.
constexpr int kRowsPerBlock = 8;
constexpr int kRowColumns = 256;
constexpr int kRowThreads = kRowsPerBlock * kWarpSize;

inline dim3 row_grid(std::int64_t num_rows, std::int64_t num_columns) {
    constexpr std::int64_t kMostBlocks = 65535;  // CUDA's, of a grid's second dimension
    if (ceil_div(num_columns, kRowColumns) > kMostBlocks)
        throw Error("rows of " + std::to_string(num_columns) +
                    " values are longer than a GPU's kernels take; run with " + setting("backend") +
                    " cpu");
    return dim3(static_cast<unsigned>(ceil_div(num_rows, kRowsPerBlock)),
                static_cast<unsigned>(ceil_div(num_columns, kRowColumns)));
}

// body(row, column) for what this thread has of them, launched with row_grid() and kRowThreads.
template <typename Body>
__device__ void for_row_values(std::int64_t num_rows, int num_columns, const Body& body) {
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + warp;
    if (row >= num_rows)
        return;
    const int begin = static_cast<int>(blockIdx.y) * kRowColumns;
    const int end = begin + kRowColumns < num_columns ? begin + kRowColumns : num_columns;
#pragma unroll 8
    for (int column = begin + lane; column < end; column += kWarpSize)
        body(row, column);
}

__device__ inline void store(float value, float* to) {
    *to = value;
}
__device__ inline void store(float value, std::uint16_t* to) {
    *to = encode_bf16(value);
}

}  // namespace eplb::cuda

#endif
