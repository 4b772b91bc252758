#include <string>

#include "kernels/backends.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/nccl_communicator.h"
#include "lib/base/error.h"
#include "lib/base/setting.h"

// What a build with CUDA has.
namespace eplb {

bool has_cuda_build() {
    return true;
}

int num_cuda_devices() {
    int num_devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&num_devices);
    // also without a driver, or with one from before this toolkit
    if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
        static_cast<void>(cudaGetLastError());
        return 0;
    }
    if (status != cudaSuccess)
        throw Error(std::string("GPUs: cudaGetDeviceCount: ") + cudaGetErrorString(status) +
                    "; run with " + setting("backend") + " cpu");
    return num_devices;
}

std::unique_ptr<Backend> make_backend(BackendKind kind,
                                      int device,
                                      ThreadPool& threads,
                                      const BackendOptions& options) {
    if (kind == BackendKind::cpu)
        return std::make_unique<CpuBackend>(threads);
    const int num_devices = num_cuda_devices();
    if (num_devices == 0)
        throw Error("backend cuda: no GPU, or no driver as new as this program's CUDA; run with " +
                    setting("backend") + " cpu");
    if (device < 0 || device >= num_devices)
        throw Error("backend cuda: no GPU " + std::to_string(device) + ", there are " +
                    std::to_string(num_devices) +
                    "; run at most as many processes per machine as it has GPUs");
    return std::make_unique<CudaBackend>(device, options);
}

std::unique_ptr<Communicator> make_gpu_communicator(Backend& gpu, ProcessGroup& group) {
    return std::make_unique<NcclCommunicator>(dynamic_cast<CudaBackend&>(gpu), group);
}

}  // namespace eplb
