#ifndef EPLB_KERNELS_CPU_SOCKET_COMMUNICATOR_H
#define EPLB_KERNELS_CPU_SOCKET_COMMUNICATOR_H

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "kernels/communicator.h"
#include "lib/cluster/process_group.h"
#include "lib/cluster/socket.h"

namespace eplb {

// Between processes: a TCP connection for each pair of them, that of the group being for messages.
class SocketCommunicator final : public Communicator {
  public:
    // Every member of the group at once. The group must outlive it. local_address: the group's
    // (TcpProcessGroup::local_address()), the first that others try.
    SocketCommunicator(ProcessGroup& group,
                       const std::string& local_address,
                       std::chrono::milliseconds time_limit = std::chrono::seconds(60));

    int rank() const override { return group_.rank(); }
    int size() const override { return group_.size(); }
    void all_gather(const void* send, std::size_t num_bytes, void* receive) override;
    void exchange(const void* send,
                  std::span<const std::int64_t> send_begin,
                  void* receive,
                  std::span<const std::int64_t> receive_begin) override;

  private:
    // What is under way in one direction with one peer: a header, then data.
    struct Part;
    struct Traffic;

    // Sends and receives with all peers at once, so that nobody waits for anybody in turn.
    void transfer(std::vector<Traffic>& peers);
    void send_part(int peer, Part& part);
    void receive_part(int peer, Part& part);
    [[noreturn]] void throw_lost(int peer);

    ProcessGroup& group_;
    std::vector<Socket> sockets_;  // [size()], its own not open
    std::uint64_t num_calls_ = 0;
};

}  // namespace eplb

#endif
