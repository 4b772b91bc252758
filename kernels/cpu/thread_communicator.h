#ifndef EPLB_KERNELS_CPU_THREAD_COMMUNICATOR_H
#define EPLB_KERNELS_CPU_THREAD_COMMUNICATOR_H

#include "kernels/communicator.h"
#include "lib/cluster/process_group.h"

namespace eplb {

// Between threads of one process: each copies what is meant for it out of the others' memory.
class ThreadCommunicator final : public Communicator {
  public:
    // A member of a ThreadGroup, which must outlive it; its calls are part of the group's.
    explicit ThreadCommunicator(ProcessGroup& group) : group_(group) {}

    int rank() const override { return group_.rank(); }
    int size() const override { return group_.size(); }
    void all_gather(const void* send, std::size_t num_bytes, void* receive) override;
    void exchange(const void* send,
                  std::span<const std::int64_t> send_begin,
                  void* receive,
                  std::span<const std::int64_t> receive_begin) override;

  private:
    ProcessGroup& group_;
};

}  // namespace eplb

#endif
