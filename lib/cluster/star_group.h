#ifndef EPLB_CLUSTER_STAR_GROUP_H
#define EPLB_CLUSTER_STAR_GROUP_H

#include <string>
#include <string_view>
#include <vector>

#include "lib/cluster/process_group.h"
#include "lib/cluster/wire.h"

namespace eplb {

// The calls of a group whose members send to rank 0, which answers: whatever carries the messages.
class StarGroup : public ProcessGroup {
  public:
    std::vector<std::string> all_gather(std::string_view bytes) override;
    std::vector<std::string> gather(std::string_view bytes) override;
    void barrier() override;

  protected:
    // Sends from or to rank 0; returns at once. Throws as check().
    virtual void send(int to, Frame frame) = 0;
    // The next message from rank 0, or from another at rank 0. Throws as check() while it waits, or
    // where the other has left and can send none; `call` is the caller's, for the text.
    virtual Frame receive(int from, const Frame& call) = 0;
    // All members fail with this text; throws it.
    [[noreturn]] virtual void fail_all(const std::string& text) = 0;
    // "rank 3 (host gpu07)"
    virtual std::string describe(int rank) const = 0;

  private:
    Frame new_call(Operation operation);
    Frame receive_in_step(int from, const Frame& call);
    std::vector<std::string> collect(const Frame& call, std::string_view own);

    std::uint64_t num_calls_ = 0;
};

}  // namespace eplb

#endif
