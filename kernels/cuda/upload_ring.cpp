#include "kernels/cuda/upload_ring.h"

#include <algorithm>
#include <cstring>

namespace eplb {
namespace {

CudaEvent ordering_event(const CudaDevice& device) {
    return {device, CudaEvent::Kind::ordering};
}

}  // namespace

UploadRing::UploadRing(CudaDevice& device)
    : device_(device), memory_(device), copied_{ordering_event(device), ordering_event(device),
                                                ordering_event(device), ordering_event(device),
                                                ordering_event(device), ordering_event(device),
                                                ordering_event(device), ordering_event(device)} {
    memory_.grow(kPartBytes * kParts);
}

void UploadRing::copy(const void* host, std::size_t num_bytes, void* memory) {
    for (std::size_t offset = 0; offset < num_bytes;) {
        const std::size_t size = std::min(num_bytes - offset, kPartBytes);
        std::byte* const pinned = reserve(size);
        std::memcpy(pinned, static_cast<const std::byte*>(host) + offset, size);
        device_.check(cudaMemcpyAsync(static_cast<std::byte*>(memory) + offset, pinned, size,
                                      cudaMemcpyHostToDevice, device_.stream()),
                      "cudaMemcpyAsync");
        offset += size;
    }
}

std::byte* UploadRing::reserve(std::size_t num_bytes) {
    if (filled_ + num_bytes > kPartBytes) {
        device_.check(cudaEventRecord(copied_[part_].get(), device_.stream()), "cudaEventRecord");
        part_ = (part_ + 1) % kParts;
        filled_ = 0;
        device_.wait(copied_[part_].get());
    }
    std::byte* const reserved = memory_.data() + part_ * kPartBytes + filled_;
    filled_ += num_bytes;
    return reserved;
}

}  // namespace eplb
