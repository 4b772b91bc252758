#ifndef EPLB_CLUSTER_TCP_GROUP_H
#define EPLB_CLUSTER_TCP_GROUP_H

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/cluster/launch.h"
#include "lib/cluster/star_group.h"

namespace eplb {

struct TcpGroupOptions {
    // What all processes must have in common, for people to read: model, ep_size, inputs. One that
    // has another makes all fail.
    std::string configuration;
    std::chrono::milliseconds meeting_limit{300'000};  // until all have come
    std::function<bool()> is_interrupted = {};         // of the meeting, as in meeting.h
    // A process that sends nothing for so long, not even the heartbeats that a thread of its own
    // sends, is stopped, or its host unreachable: it has failed.
    std::chrono::milliseconds silence_limit{60'000};
    // How long the last message of a process that fails may take to leave it, and then to be read.
    std::chrono::milliseconds last_message{1000};
};

// Processes that each keep a TCP connection to rank 0. A thread in each reads and sends, so that
// check() knows what became of the others without a call of theirs.
//
// A connection that closes without a goodbye is a failure of the process at its other end; so is
// silence. Rank 0 tells the others; its own end they see.
//
// The destructor says goodbye, or, while an exception unwinds the stack, that this process failed.
// Who says goodbye has not failed, unless others wait for it in a call. As rank 0 carries the
// messages, its destructor waits until all others have left, or one has failed.
//
// Whoever reaches rank 0's port during the meeting can take part: like other launchers of this
// kind, it trusts the network.
class TcpProcessGroup final : public StarGroup {
  public:
    // Returns when all have come. No connection is made for a world of 1.
    TcpProcessGroup(const Launch& launch, const TcpGroupOptions& options);
    ~TcpProcessGroup() override;
    TcpProcessGroup(const TcpProcessGroup&) = delete;
    TcpProcessGroup& operator=(const TcpProcessGroup&) = delete;

    int rank() const override;
    int size() const override;
    void check() override;
    void fail(std::string_view why) noexcept override;
    void interrupt() noexcept override;

    const std::vector<std::string>& hosts() const;  // [size()], their names
    // Place of this process among those of its host name, by rank.
    int local_rank() const;
    // The address of this host by which others of the group are known to reach it, or it them.
    const std::string& local_address() const;

  protected:
    void send(int to, Frame frame) override;
    Frame receive(int from, const Frame& call) override;
    [[noreturn]] void fail_all(const std::string& text) override;
    std::string describe(int rank) const override;

  private:
    void end(std::string_view why, bool is_interruption) noexcept;
    class Wires;
    std::unique_ptr<Wires> wires_;
    int exceptions_;  // under way when it was made
};

}  // namespace eplb

#endif
