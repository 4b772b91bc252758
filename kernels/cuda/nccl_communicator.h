#ifndef EPLB_KERNELS_CUDA_NCCL_COMMUNICATOR_H
#define EPLB_KERNELS_CUDA_NCCL_COMMUNICATOR_H

#include <nccl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/communicator.h"
#include "kernels/cuda/cuda_backend.h"
#include "lib/cluster/process_group.h"

namespace eplb {

// NCCL in the stream of a backend. One process per GPU, or one thread per GPU; NCCL advises the
// first: in one process a call that gets or frees memory may wait for all GPUs, and one of them for
// what comes after it.
//
// NCCL waits for peers, here and on the GPU, for ever. So nothing here blocks, and both this and
// the backend's waits ask the group whether all members are alive: where one is not, NCCL is
// aborted, which ends its kernels, and the Error thrown is the group's.
class NcclCommunicator final : public Communicator {
  public:
    // Called by all members at once. deadline: of what NCCL does on the host, such as connecting;
    // verdict_limit: how long an error of NCCL's waits for the group to say who failed.
    NcclCommunicator(CudaBackend& backend,
                     ProcessGroup& group,
                     std::chrono::seconds deadline = std::chrono::seconds(300),
                     std::chrono::milliseconds verdict_limit = std::chrono::seconds(5));
    // Waits for the other members, unless an exception is under way.
    ~NcclCommunicator() override;
    NcclCommunicator(const NcclCommunicator&) = delete;
    NcclCommunicator& operator=(const NcclCommunicator&) = delete;

    int rank() const override { return group_.rank(); }
    int size() const override { return group_.size(); }
    void all_gather(const void* send, std::size_t num_bytes, void* receive) override;
    void exchange(const void* send,
                  std::span<const std::int64_t> send_begin,
                  void* receive,
                  std::span<const std::int64_t> receive_begin) override;

  private:
    void check_others();
    void check_alive() const;
    void finish(ncclResult_t result, const char* call);
    void require(ncclResult_t result, const char* call);
    void abort_and_ask_group();
    void connect();
    void abort() noexcept;

    CudaDevice& device_;
    ProcessGroup& group_;
    std::chrono::seconds deadline_;
    std::chrono::milliseconds verdict_limit_;
    ncclComm_t comm_ = nullptr;  // null once aborted
    int num_exceptions_;         // under way when it was made
};

}  // namespace eplb

#endif
