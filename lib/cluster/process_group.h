#ifndef EPLB_CLUSTER_PROCESS_GROUP_H
#define EPLB_CLUSTER_PROCESS_GROUP_H

#include <string>
#include <string_view>
#include <vector>

namespace eplb {

constexpr const char* kItWasInterrupted = "it was interrupted";

// The processes (or, in one process, the threads) of a run, one per device: small messages in host
// memory, and the knowledge that all are alive. Every member makes the same calls in the same
// order, from one thread.
class ProcessGroup {
  public:
    virtual ~ProcessGroup() = default;

    virtual int rank() const = 0;
    virtual int size() const = 0;

    // Every member's bytes, of any sizes, in the order of ranks: at every member.
    virtual std::vector<std::string> all_gather(std::string_view bytes) = 0;
    // The same at rank 0; nothing at the others, which do not wait.
    virtual std::vector<std::string> gather(std::string_view bytes) = 0;
    // Returns when all have come here.
    virtual void barrier() = 0;

    // Throws an Error that names rank, host and cause once any member has failed or gone: so do all
    // calls above. For loops that wait for something else; may be called from any thread.
    virtual void check() = 0;

    // Tells the others that this member ends, and why; their calls throw from then on. At most
    // once.
    virtual void fail(std::string_view why) noexcept = 0;
    // The same where a signal is why: theirs then throw an InterruptedError.
    virtual void interrupt() noexcept = 0;
};

}  // namespace eplb

#endif
