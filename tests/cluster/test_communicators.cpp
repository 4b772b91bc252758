
#include "kernels/cpu/socket_communicator.h"
#include "kernels/cpu/thread_communicator.h"
#include "lib/cluster/endpoint.h"
#include "lib/cluster/tcp_group.h"
#include "lib/cluster/thread_group.h"
#include "tests/cluster/group_calls.h"
#include "tests/cluster/processes.h"
#include "tests/cluster/threads.h"
#include "tests/test_support.h"

namespace eplb::test_communicators {

using namespace eplb::test;
using namespace std::chrono_literals;

namespace {

const TcpGroupOptions kShort = {.configuration = "", .meeting_limit = 10s};

// of all ranks, by sockets between processes
std::vector<std::string> socket_outcomes(int size,
                                         const std::function<void(Communicator&, int)>& body) {
    const int port = free_port();
    return outcomes_of(size, [&](int rank) {
        TcpProcessGroup group(local_launch(rank, size, port), kShort);
        SocketCommunicator communicator(group, group.local_address());
        body(communicator, rank);
    });
}

std::vector<std::string> thread_outcomes(int size,
                                         const std::function<void(Communicator&, int)>& body) {
    return outcomes_of_threads(size, [&](ProcessGroup& group, int rank) {
        ThreadCommunicator communicator(group);
        body(communicator, rank);
    });
}

}  // namespace

TEST_CASE("what arrives is what was sent, whatever the sizes") {
    for (const int size : {1, 2, 3, 5}) {
        const auto body = [&](Communicator& communicator, int rank) {
            check_communicator(communicator, rank, size);
        };
        const std::vector<std::string> all_done(size, "done");
        CHECK(thread_outcomes(size, body) == all_done);
        CHECK(socket_outcomes(size, body) == all_done);
    }
}

TEST_CASE("two ends that differ about a size are an error at both") {
    // rank 1 sends 7 bytes to each; rank 0 expects 9 of it
    const auto body = [&](Communicator& communicator, int rank) {
        const std::vector<std::byte> send(14);
        std::vector<std::byte> receive(20);
        const std::vector<std::int64_t> send_begin = {0, rank == 1 ? 7 : 0, rank == 1 ? 14 : 0};
        const std::vector<std::int64_t> receive_begin = {0, 0, rank == 0 ? 9 : 7};
        communicator.exchange(send.data(), send_begin, receive.data(), receive_begin);
        communicator.exchange(send.data(), send_begin, receive.data(), receive_begin);
    };
    for (const auto& outcomes : {thread_outcomes(2, body), socket_outcomes(2, body)})
        for (const std::string& outcome : outcomes) {
            CAPTURE(outcome);
            CHECK(outcome.find("rank 1 sends 7 bytes ") != std::string::npos);
            CHECK(outcome.find("to rank 0, which expects 9") != std::string::npos);
        }
}

TEST_CASE("a member that is out of step by a call is noticed") {
    const auto outcomes = socket_outcomes(2, [&](Communicator& communicator, int rank) {
        const std::vector<std::int64_t> none(3, 0);
        if (rank == 0)
            communicator.exchange(nullptr, none, nullptr, none);
        std::byte bytes[2] = {};
        communicator.all_gather(bytes, 1, bytes);
    });
    for (const std::string& outcome : outcomes) {
        CAPTURE(outcome);
        CHECK(outcome.find("this is an error of the program") != std::string::npos);
    }
}

TEST_CASE("strangers at a data port are dropped") {
    // A member whose data port is known to the test is one that waits: rank 1 comes to the
    // communicator late.
    const int port = free_port();
    CHECK(outcomes_of(2, [&](int rank) {
              TcpProcessGroup group(local_launch(rank, 2, port), kShort);
              if (rank == 0) {
                  SocketCommunicator communicator(group, group.local_address());
                  check_communicator(communicator, 0, 2);
                  return;
              }
              // this member's part by hand: no network, so that the port is open to all addresses
              group.all_gather("");
              const auto endpoints = group.all_gather(pack(own_endpoint(1, 1, {})));
              const Endpoint rank_0 = unpack_endpoint(endpoints[0]);
              std::string why;
              for (const std::string says :
                   {std::string("GET / HTTP/1.1\r\n\r\n"),
                    encode({.kind = FrameKind::data_hello,
                    .operation = {},
                    .call = 0,
                    .bytes = pack_number(rank_0.nonce + 1) + pack_number(1)}),
                    encode({.kind = FrameKind::data_hello,
                    .operation = {},
                    .call = 0,
                    .bytes = pack_number(rank_0.nonce) + pack_number(7)})}) {
                  const Socket stranger =
                      try_connect("127.0.0.1", rank_0.port, Clock::now() + 2s, why);
                  if (!send_all(stranger, says, Clock::now() + 2s))
                      throw Error("cannot send");
                  char bytes[256];
                  while (true) {
                      if (!wait_to_receive(stranger, Clock::now() + 2s))
                          throw Error("a stranger was not dropped");
                      if (receive_some(stranger, bytes, sizeof bytes).is_closed)
                          break;
                  }
              }
              throw Error("all were dropped");
          })[1] == "all were dropped");
}

}  // namespace eplb::test_communicators
