#ifndef EPLB_TESTS_CUDA_EMULATOR_KERNEL_LAUNCH_H
#define EPLB_TESTS_CUDA_EMULATOR_KERNEL_LAUNCH_H

#include <cstddef>
#include <tuple>
#include <type_traits>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/execution.h"
#include "tests/cuda_emulator/runtime_api.h"

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
    dim3 gridDim;
    dim3 blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};

namespace cuda_emulator {

// Error code of a launch of these sizes; 0 if a device would take it.
cudaError_t check_launch(const cudaLaunchConfig_t& config);

template <typename T>
void check_argument(const T& argument) {
    if constexpr (std::is_pointer_v<T>)
        if (argument != nullptr && !is_device_memory(argument))
            misuse("a kernel is passed a pointer that is not device memory");
}

}  // namespace cuda_emulator

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config,
                               void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    using namespace cuda_emulator;
    if (const cudaError_t error = check_launch(*config); error != cudaSuccess)
        return error;
    const std::tuple<std::remove_cv_t<Parameters>...> values(arguments...);
    std::apply([](const auto&... value) { (check_argument(value), ...); }, values);
    enqueue(config->stream, [kernel, values, grid = config->gridDim, block = config->blockDim,
                             shared_bytes = config->dynamicSmemBytes] {
        run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes,
                 [&] { std::apply(kernel, values); });
    });
    return cudaSuccess;
}

#endif
