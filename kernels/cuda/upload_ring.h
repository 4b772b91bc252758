#ifndef EPLB_KERNELS_CUDA_UPLOAD_RING_H
#define EPLB_KERNELS_CUDA_UPLOAD_RING_H

#include <array>
#include <cstddef>

#include "kernels/cuda/cuda_device.h"

namespace eplb {

// Copies host memory into a GPU's, in the order of its stream, without waiting for it: through
// pinned memory, part after part. The host's memory has been read when a call returns.
class UploadRing {
  public:
    explicit UploadRing(CudaDevice& device);

    void copy(const void* host, std::size_t num_bytes, void* memory);

  private:
    static constexpr std::size_t kPartBytes = std::size_t{1} << 20;
    static constexpr std::size_t kParts = 8;

    std::byte* reserve(std::size_t num_bytes);

    CudaDevice& device_;
    PinnedMemory memory_;
    std::array<CudaEvent, kParts> copied_;  // all that was in a part
    std::size_t part_ = 0;
    std::size_t filled_ = 0;  // bytes of the part
};

}  // namespace eplb

#endif
