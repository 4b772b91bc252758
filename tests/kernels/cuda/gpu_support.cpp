#include "tests/kernels/cuda/gpu_support.h"

#include <cstdio>
#include <cstdlib>

#ifdef EPLB_EMULATED_GPU
#include "tests/cuda_emulator/emulator.h"
#endif

namespace eplb::test {
namespace {

// Before the tests: exit code 77 is a skipped test for Meson.
[[maybe_unused]] const bool has_gpu = [] {
#ifdef EPLB_EMULATED_GPU
    cuda_emulator::set_device_count(4);
    cuda_emulator::set_memory_size(std::size_t{4} << 30);
#endif
    if (num_cuda_devices() == 0) {
        std::puts("skipped: no GPU");
        std::exit(77);
    }
    return true;
}();

}  // namespace

int num_test_gpus() {
    return num_cuda_devices();
}

std::unique_ptr<Backend> make_gpu(ProductPrecision precision,
                                  std::size_t workspace_bytes,
                                  int device) {
    ThreadPool threads(1);
    return make_backend(BackendKind::cuda, device, threads,
                        {.precision = precision, .workspace_bytes = workspace_bytes});
}

}  // namespace eplb::test
