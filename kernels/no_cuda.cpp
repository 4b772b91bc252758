#include "kernels/backends.h"
#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/base/setting.h"

// What a build without CUDA has.
namespace eplb {
namespace {

[[noreturn]] void refuse_cuda() {
    throw Error("backend cuda: this program was built without CUDA; run with " +
                setting("backend") + " cpu, or build it with -Dcuda=enabled");
}

}  // namespace

bool has_cuda_build() {
    return false;
}

int num_cuda_devices() {
    return 0;
}

std::unique_ptr<Backend> make_backend(BackendKind kind,
                                      int,
                                      ThreadPool& threads,
                                      const BackendOptions&) {
    if (kind == BackendKind::cuda)
        refuse_cuda();
    return std::make_unique<CpuBackend>(threads);
}

std::unique_ptr<Communicator> make_gpu_communicator(Backend&, ProcessGroup&) {
    refuse_cuda();
}

}  // namespace eplb
