#ifndef EPLB_CLUSTER_THREAD_GROUP_H
#define EPLB_CLUSTER_THREAD_GROUP_H

#include <memory>

#include "lib/cluster/process_group.h"

namespace eplb {

// A group of threads of one process, with the same rules as one of processes.
//
//   ThreadGroup shared(2);
//   std::thread other([&] { const auto group = shared.member(1); group->barrier(); });
//   const auto group = shared.member(0);
//
// A member is given up by the thread that has it: as planned, or, while an exception unwinds the
// stack, as failed. It may outlive the ThreadGroup.
class ThreadGroup {
  public:
    explicit ThreadGroup(int size);

    // Once for each rank, from any thread.
    std::unique_ptr<ProcessGroup> member(int rank);

  private:
    class Shared;
    class Member;
    std::shared_ptr<Shared> shared_;
};

}  // namespace eplb

#endif
