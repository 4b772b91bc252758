#ifndef EPLB_KERNELS_CUDA_WEIGHT_STORE_H
#define EPLB_KERNELS_CUDA_WEIGHT_STORE_H

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_device.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// Weights of host memory, held in a GPU's memory. A thread of its own reads them, which for a
// mapped file is reading the file, into pinned memory from where the GPU fetches them: while the
// GPU computes.
class WeightStore {
  public:
    explicit WeightStore(CudaDevice& device);
    ~WeightStore();
    WeightStore(const WeightStore&) = delete;
    WeightStore& operator=(const WeightStore&) = delete;

    // Parts are the same or do not overlap.
    void hold(Backend::WeightParts parts);
    void drop(Backend::WeightParts parts);

    // Where an address inside a held part is in the GPU's memory; the stream's work from now on
    // comes after its copy. An address in no part is device memory already.
    const std::byte* find(const std::byte* address);
    const float* find(const float* address);
    WeightMatrix find(const WeightMatrix& matrix);
    MlpWeights find(const MlpWeights& mlp);

  private:
    // A part that is held. Parts begin at multiples of 256 bytes in the GPU's memory, whatever
    // their address in the host's.
    struct Part {
        std::span<const std::byte> host;
        std::byte* memory = nullptr;
        int num_holders = 0;
        long number = 0;                       // in the order of copies, from 1
        std::atomic<bool> is_dropped = false;  // its host memory is about to end
    };
    // A piece of pinned memory between the host's memory and the GPU's.
    struct Staging {
        PinnedMemory memory;
        CudaEvent fetched;
    };

    void hold(std::span<const std::byte> host);
    void copy_parts();
    void copy(const Part& part);
    void forget(const std::shared_ptr<Part>& part);
    void wait_for_uses();
    void wait_until_issued(std::unique_lock<std::mutex>& lock, long number);
    void wait_for_copy(long number);

    CudaDevice& device_;
    CudaStream copies_;
    CudaEvent copied_;
    CudaEvent used_;
    std::array<Staging, 4> staging_;
    std::size_t staging_index_ = 0;   // of the thread, as the next
    std::size_t staging_filled_ = 0;  // bytes

    std::map<std::uintptr_t, std::shared_ptr<Part>> parts_;  // by host address
    long last_part_ = 0;
    long ready_part_ = 0;  // the stream waits for the copies up to this one

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<const Part>> queue_;
    long issued_part_ = 0;  // copies up to this one are in the stream
    std::atomic<bool> stop_ = false;
    std::exception_ptr failure_;
    std::thread thread_;
};

}  // namespace eplb

#endif
