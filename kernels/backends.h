#ifndef EPLB_KERNELS_BACKENDS_H
#define EPLB_KERNELS_BACKENDS_H

#include <cstddef>
#include <memory>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "lib/base/parallel.h"
#include "lib/cluster/process_group.h"

// The backends that this build has. Its callers need not know how it was built.
namespace eplb {

enum class BackendKind { cpu, cuda };

// What a GPU multiplies matrices in: fp32 without TF32, or activations and weights rounded to bf16
// with sums in fp32. The router's product is always fp32.
enum class ProductPrecision { fp32, bf16 };

struct BackendOptions {
    ProductPrecision precision = ProductPrecision::fp32;
    // About what a GPU's products may take beside their inputs and outputs.
    std::size_t workspace_bytes = std::size_t{1} << 30;
};

bool has_cuda_build();

// GPUs that this process may use. 0 without a driver, or where the build has no CUDA.
int num_cuda_devices();

// device and options are of GPUs, threads of the CPU. An Error where there is no such GPU.
std::unique_ptr<Backend> make_backend(BackendKind kind,
                                      int device,
                                      ThreadPool& threads,
                                      const BackendOptions& options);

// NCCL between the GPUs of a group's members; `gpu` is from make_backend() and outlives it. Called
// by all members at once.
std::unique_ptr<Communicator> make_gpu_communicator(Backend& gpu, ProcessGroup& group);

}  // namespace eplb

#endif
