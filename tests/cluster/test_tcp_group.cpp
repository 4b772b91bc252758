#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/cluster/endpoint.h"
#include "lib/cluster/tcp_group.h"
#include "tests/cluster/group_calls.h"
#include "tests/cluster/processes.h"
#include "tests/test_support.h"

namespace eplb::test_tcp_group {

using namespace eplb::test;
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;

const TcpGroupOptions kShort = {.configuration = "model tiny, ep_size 8", .meeting_limit = 10s};

std::vector<std::string> all_done(int count) {
    return std::vector<std::string>(count, "done");
}

// a connection to the port of a rank 0 that starts just now
Socket connect_to_port(int port) {
    std::string why;
    for (int attempt = 0; attempt < 500; ++attempt) {
        if (Socket socket = try_connect("127.0.0.1", port, Clock::now() + 1s, why);
            socket.is_open())
            return socket;
        std::this_thread::sleep_for(10ms);
    }
    throw Error("nobody listens");
}

bool ends_within(const Socket& socket, Clock::duration limit) {
    const auto deadline = Clock::now() + limit;
    char bytes[256];
    while (wait_to_receive(socket, deadline))
        if (receive_some(socket, bytes, sizeof bytes).is_closed)
            return true;
    return false;
}

Launch launch_by_file(int rank, int world_size, const fs::path& file) {
    Launch launch = local_launch(rank, world_size, 0);
    launch.meeting_point = {.host = {}, .port = 0, .file = file.string()};
    return launch;
}

}  // namespace

TEST_CASE("what processes gather is what each has sent, in the order of ranks") {
    for (const int size : {1, 2, 3, 8}) {
        const int port = free_port();
        CHECK(outcomes_of(size, [&](int rank) {
                  TcpProcessGroup group(local_launch(rank, size, port), kShort);
                  check_calls(group, rank, size);
                  if (group.local_rank() != rank ||
                      group.hosts() != std::vector<std::string>(size, own_host_name()))
                      throw Error("wrong hosts");
              }) == all_done(size));
    }
}

TEST_CASE("ranks may come late, and in any order") {
    const int port = free_port();
    for (const int late : {0, 1, 2})
        CHECK(outcomes_of(3, [&](int rank) {
                  if (rank == late)
                      std::this_thread::sleep_for(300ms);
                  TcpProcessGroup group(local_launch(rank, 3, port), kShort);
                  check_calls(group, rank, 3);
              }) == all_done(3));
}

TEST_CASE("host names and IPv6 addresses lead to rank 0") {
    for (const std::string host : {"localhost", "::1", "0.0.0.0"}) {
        CAPTURE(host);
        if (host == "::1" && !fs::exists("/proc/net/if_inet6"))
            continue;
        const int port = free_port();
        CHECK(outcomes_of(2, [&](int rank) {
                  Launch launch = local_launch(rank, 2, port);
                  launch.meeting_point.host = host;
                  TcpProcessGroup group(launch, kShort);
                  check_calls(group, rank, 2);
              }) == all_done(2));
    }
}

TEST_CASE("a member that has left, as planned, is no failure until others wait for it") {
    const int port = free_port();
    const auto outcomes = outcomes_of(3, [&](int rank) {
        TcpProcessGroup group(local_launch(rank, 3, port), kShort);
        group.barrier();
        if (rank == 2)
            return;
        std::this_thread::sleep_for(300ms);
        group.check();
        group.barrier();
    });
    CHECK(outcomes[2] == "done");
    for (const int rank : {0, 1})
        CHECK_STARTS_WITH(outcomes[rank], "rank 2 (host " + own_host_name() +
                                              ") has ended without taking part in call 2, barrier");
}

TEST_CASE("rank 0 may be through first: it stays until the others are") {
    const int port = free_port();
    CHECK(outcomes_of(3, [&](int rank) {
              TcpProcessGroup group(local_launch(rank, 3, port), kShort);
              group.barrier();
              if (rank != 0)
                  std::this_thread::sleep_for(300ms);
              group.check();
              group.gather("rank 0 reads none of this");
              if (rank == 0)
                  return;
              std::this_thread::sleep_for(100ms);
              group.check();
          }) == all_done(3));
    const int other_port = free_port();
    const auto outcomes = outcomes_of(2, [&](int rank) {
        TcpProcessGroup group(local_launch(rank, 2, other_port), kShort);
        if (rank == 1)
            group.barrier();
    });
    CHECK(outcomes[0] == "done");
    CHECK_STARTS_WITH(outcomes[1], "rank 0 (host " + own_host_name() +
                                       ") has ended without taking part in call 1, barrier");
}

TEST_CASE("ranks that are out of step are noticed") {
    const int port = free_port();
    for (const std::string& outcome : outcomes_of(3, [&](int rank) {
             TcpProcessGroup group(local_launch(rank, 3, port), kShort);
             group.barrier();
             if (rank == 1)
                 group.barrier();
             else
                 group.all_gather("x");
         }))
        CHECK_STARTS_WITH(outcome, "rank 1 (host " + own_host_name() +
                                       ") is out of step: it calls barrier (call 2) where rank 0 "
                                       "(host " +
                                       own_host_name() + ") calls all_gather (call 2)");
}

TEST_CASE("whoever differs in configuration, world size or rank makes all fail at once") {
    struct Case {
        int world_size;
        const char* configuration;
        int rank;
        std::string text;
    };
    const std::string host = " (host " + own_host_name() + ")";
    const std::vector<Case> cases = {
        {4, "model tiny, ep_size 16", 2,
         "rank 2" + host + ": its configuration has 'ep_size 16', that of rank 0" + host +
             " has 'ep_size 8': start all ranks with the same"},
        {4, "model tiny, raw, ep_size 8", 2,
         "rank 2" + host + ": its configuration has 'raw', that of rank 0" + host +
             " does not have this: start all ranks with the same"},
        {5, "model tiny, ep_size 8", 2,
         "rank 2" + host + ": world size 5, but rank 0" + host + " has 4"},
        {4, "model tiny, ep_size 8", 1,
         "rank 1" + host + ": came although rank 1" + host + " is there"},
    };
    for (const Case& odd : cases) {
        const int port = free_port();
        const auto start = Clock::now();
        const auto outcomes = outcomes_of(4, [&](int rank) {
            Launch launch = local_launch(rank, 4, port);
            TcpGroupOptions options = kShort;
            if (rank == 2) {
                launch.rank = odd.rank;
                launch.world_size = odd.world_size;
                options.configuration = odd.configuration;
            }
            TcpProcessGroup group(launch, options);
        });
        for (const std::string& outcome : outcomes)
            CHECK_STARTS_WITH(outcome, odd.text);
        CHECK(Clock::now() - start < 5s);  // and not at the time limit
    }
}

TEST_CASE("a file that is no meeting's is neither replaced nor removed") {
    const TemporaryFolder folder;
    const std::string path = folder / "dataset.json";
    for (const char* const content : {"precious", "", "{\"input_ids\":[1,2,3],\"task_id\":0}\n"}) {
        std::ofstream(path) << content;
        Launch launch = local_launch(0, 2, 0);
        launch.meeting_point = {.host = {}, .port = 0, .file = path};
        CHECK_STARTS_WITH(error_of([&] { TcpProcessGroup(launch, kShort); }),
                          path + ": is there, and was not written by an earlier run");
        CHECK(read_file(path) == content);
    }
}

TEST_CASE("who does not come is named at the time limit") {
    const TcpGroupOptions options = {
        .configuration = "", .meeting_limit = 2s, .last_message = 10ms};
    const std::string host = " (host " + own_host_name() + ")";
    const int port = free_port();
    Processes processes;
    for (const int rank : {0, 2})
        processes.start([&] { TcpProcessGroup(local_launch(rank, 5, port), options); });
    const int other_port = free_port();
    processes.start([&] { TcpProcessGroup(local_launch(1, 2, other_port), options); });
    for (const int process : {0, 1})
        CHECK_STARTS_WITH(processes.wait(process).text,
                          "ranks 1, 3, 4 of 5 did not come to rank 0" + host + " within 2 s: see");
    CHECK_STARTS_WITH(processes.wait(2).text,
                      "rank 1" + host + ": could not reach rank 0 at 127.0.0.1:" +
                          std::to_string(other_port) + " within 2 s (Connection refused): start");
}

TEST_CASE("a port that is taken is named") {
    const Socket taken = listen_at(0, "127.0.0.1");
    const int port = port_of(taken);
    CHECK_STARTS_WITH(error_of([&] { TcpProcessGroup(local_launch(0, 2, port), kShort); }),
                      "127.0.0.1 port " + std::to_string(port) +
                          ": cannot listen: Address already in use; another run");
}

TEST_CASE("strangers at rank 0's port are dropped, and break nothing") {
    const int port = free_port();
    Processes processes;
    const auto start = [&](int rank) {
        processes.start([&] {
            TcpProcessGroup group(local_launch(rank, 3, port), kShort);
            check_calls(group, rank, 3);
        });
    };
    start(0);
    std::vector<Socket> strangers;
    const std::string ours =
        encode({.kind = FrameKind::hello, .operation = {}, .call = 0, .bytes = "too short"});
    std::string huge = ours;
    huge.replace(16, 8, 8, '\xff');  // the size
    std::string other_version = ours;
    other_version[4] = 99;
    for (const std::string& says :
         {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(100'000, '\0'),
          std::string("SSH-2.0-OpenSSH_9.2\r\n"), ours, huge, other_version,
          encode({.kind = FrameKind::goodbye, .operation = {}, .call = 0, .bytes = {}})}) {
        strangers.push_back(connect_to_port(port));
        CHECK(send_all(strangers.back(), says, Clock::now() + 5s));
    }
    for (const Socket& stranger : strangers)
        CHECK(ends_within(stranger, 5s));
    // who says nothing, half a header, or goes at once
    strangers.push_back(connect_to_port(port));
    strangers.push_back(connect_to_port(port));
    CHECK(send_all(strangers.back(), ours.substr(0, 10), Clock::now() + 5s));
    connect_to_port(port);
    start(1);
    connect_to_port(port);
    start(2);
    for (const int process : {0, 1, 2})
        CHECK(processes.wait(process).text == "done");
}

TEST_CASE("another program where rank 0 is to be is not rank 0") {
    Processes processes;
    const int port = free_port();
    processes.start([&] {
        TcpProcessGroup group(local_launch(1, 2, port), kShort);
        check_calls(group, 1, 2);
    });
    {
        const Socket listener = listen_at(port, "127.0.0.1");
        for (const std::string answer : {"HTTP/1.1 400 Bad Request\r\n\r\n", ""}) {
            REQUIRE(wait_to_receive(listener, Clock::now() + 5s));
            const auto visitor = accept_from(listener);
            REQUIRE(visitor);
            CHECK(send_all(*visitor, answer, Clock::now() + 5s));
        }
    }
    processes.start([&] {
        TcpProcessGroup group(local_launch(0, 2, port), kShort);
        check_calls(group, 0, 2);
    });
    CHECK(processes.wait(0).text == "done");
    CHECK(processes.wait(1).text == "done");
}

TEST_CASE("another version of the program is an error at once") {
    Processes processes;
    const int port = free_port();
    const Socket listener = listen_at(port, "127.0.0.1");
    processes.start([&] { TcpProcessGroup(local_launch(1, 2, port), kShort); });
    REQUIRE(wait_to_receive(listener, Clock::now() + 5s));
    const auto visitor = accept_from(listener);
    REQUIRE(visitor);
    std::string greeting =
        encode({.kind = FrameKind::greeting, .operation = {}, .call = 0, .bytes = "whatever"});
    greeting[4] = 2;
    CHECK(send_all(*visitor, greeting, Clock::now() + 5s));
    CHECK_STARTS_WITH(processes.wait(0).text, "rank 0 at 127.0.0.1:" + std::to_string(port) +
                                                  ": speaks version 2 of the protocol, this "
                                                  "process version 1: install");
}

TEST_CASE("what rank 0 says in one breath with its welcome is heard") {
    Processes processes;
    const int port = free_port();
    const Socket listener = listen_at(port, "127.0.0.1");
    processes.start([&] {
        TcpProcessGroup group(local_launch(1, 2, port), kShort);
        group.barrier();
    });
    // a rank 0 that says no more than it must
    REQUIRE(wait_to_receive(listener, Clock::now() + 5s));
    auto visitor = accept_from(listener);
    REQUIRE(visitor);
    Connection connection{.socket = std::move(*visitor), .frames = {}};
    const auto say = [&](const std::string& bytes) {
        CHECK(send_all(connection.socket, bytes, Clock::now() + 5s));
    };
    const auto frame = [](FrameKind kind, Operation operation, const std::string& bytes) {
        return encode({.kind = kind, .operation = operation, .call = 1, .bytes = bytes});
    };
    say(frame(FrameKind::greeting, Operation::none, pack_number(17) + pack_number(1) + "a"));
    bool is_closed = false;
    const auto hello = receive_frame(connection, Clock::now() + 5s, is_closed);
    REQUIRE(hello);
    say(frame(FrameKind::welcome, Operation::none, pack_texts(std::vector<std::string>{"a", "b"})) +
        frame(FrameKind::message, Operation::barrier, ""));
    const auto barrier = receive_frame(connection, Clock::now() + 5s, is_closed);
    REQUIRE(barrier);
    CHECK(barrier->operation == Operation::barrier);
    const auto goodbye = receive_frame(connection, Clock::now() + 5s, is_closed);
    REQUIRE(goodbye);
    CHECK(goodbye->kind == FrameKind::goodbye);
    connection.socket.close();
    CHECK(processes.wait(0, 5s).text == "done");
}

TEST_CASE("processes find each other by a file, which is gone afterwards") {
    const TemporaryFolder folder;
    const fs::path file = folder / "meeting";
    CHECK(outcomes_of(4, [&](int rank) {
              TcpProcessGroup group(launch_by_file(rank, 4, file), kShort);
              check_calls(group, rank, 4);
              if (fs::exists(file))
                  throw Error("the file is still there");
          }) == all_done(4));
}

TEST_CASE("files of earlier runs do not confuse") {
    const TemporaryFolder folder;
    const fs::path file = folder / "meeting";
    const auto run_with_late_rank_0 = [&] {
        return outcomes_of(3, [&](int rank) {
            if (rank == 0)
                std::this_thread::sleep_for(300ms);
            TcpProcessGroup group(launch_by_file(rank, 3, file), kShort);
            check_calls(group, rank, 3);
        });
    };
    // nobody at its port any more
    write_text(file, pack(own_endpoint(free_port(), 17, {})));
    CHECK(run_with_late_rank_0() == all_done(3));
    // another run's rank 0 at its port, with a nonce of its own
    {
        Processes processes;
        const int port = free_port();
        processes.start([&] {
            TcpProcessGroup(
                local_launch(0, 3, port),
                {.configuration = "another run", .meeting_limit = 1s, .last_message = 10ms});
        });
        connect_to_port(port);
        write_text(file, pack(own_endpoint(port, 17, {})));
        CHECK(run_with_late_rank_0() == all_done(3));
        CHECK_STARTS_WITH(processes.wait(0).text, "ranks 1, 2 of 3 did not come");
    }
    // another program at its port
    const Socket silent = listen_at(0, "127.0.0.1");
    write_text(file, pack(own_endpoint(port_of(silent), 17, {})));
    CHECK(run_with_late_rank_0() == all_done(3));
}

TEST_CASE("a file that never comes is named") {
    const TemporaryFolder folder;
    const TcpGroupOptions options = {
        .configuration = "", .meeting_limit = 300ms, .last_message = 10ms};
    CHECK_STARTS_WITH(
        error_of([&] { TcpProcessGroup(launch_by_file(1, 2, folder / "never"), options); }),
        "rank 1 (host " + own_host_name() + "): could not reach rank 0 by file " +
            (folder / "never").string() + " within 0.3 s (there is no such file): start");
    // rank 0 leaves none behind where it fails
    CHECK_STARTS_WITH(
        error_of([&] { TcpProcessGroup(launch_by_file(0, 2, folder / "meeting"), options); }),
        "rank 1 of 2 did not come");
    CHECK_FALSE(fs::exists(folder / "meeting"));
}

}  // namespace eplb::test_tcp_group
