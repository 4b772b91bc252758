#include <signal.h>

#include <optional>
#include <thread>

#include "kernels/cpu/socket_communicator.h"
#include "lib/cluster/meeting.h"
#include "lib/cluster/tcp_group.h"
#include "tests/cluster/group_calls.h"
#include "tests/cluster/processes.h"
#include "tests/test_support.h"

namespace eplb::test_failures {

using namespace eplb::test;
using namespace std::chrono_literals;

namespace {

const TcpGroupOptions kImpatient = {.configuration = "", .meeting_limit = 4s, .silence_limit = 2s};

// From the end of one to the end of the others. What takes longest: one that does not come to the
// meeting, or stops in it.
constexpr auto kLimit = 20s;

enum class End { kill, stop, fail };

struct Scene {
    int size;
    int victim;
    End end;
    std::chrono::milliseconds delay;  // of the end, from the start
    bool has_communicator;
    bool has_file;  // they meet by a file

    std::string text() const {
        const char* const ends[] = {"killed", "stopped", "fails"};
        return std::to_string(size) + " ranks, " + std::to_string(victim) + " is " +
               ends[static_cast<int>(end)] + " after " + std::to_string(delay.count()) + " ms" +
               (has_communicator ? ", with data" : "");
    }
};

// Whether the text says that the victim is the cause, in the words of that kind of end.
bool accuses(const std::string& text, const Scene& scene) {
    const std::string rank = "rank " + std::to_string(scene.victim);
    const std::string subject = rank + " (host " + own_host_name() + ")";
    if (text == rank + " of " + std::to_string(scene.size) + " did not come to rank 0 (host " +
                    own_host_name() +
                    ") within 4 s: see their own messages, or whether they were started and "
                    "reach this host")
        return scene.end != End::fail;
    if (scene.victim == 0 && text.find(": could not reach rank 0 ") != std::string::npos)
        return scene.end != End::fail;
    switch (scene.end) {
        case End::kill:
            return text.starts_with(subject + " is gone: ");
        case End::stop:
            return text.starts_with(subject + " has been silent for ");
        case End::fail:
            return text == subject + " failed: out of memory";
    }
    return false;
}

// calls of all kinds, until one throws
void call_for_ever(TcpProcessGroup& group, const Scene& scene, Clock::time_point end) {
    std::optional<SocketCommunicator> communicator;
    if (scene.has_communicator)
        communicator.emplace(group, group.local_address());
    for (std::uint64_t round = 0;; ++round) {
        if (scene.end == End::fail && group.rank() == scene.victim && Clock::now() >= end) {
            group.fail("out of memory");
            return;
        }
        if (communicator) {
            check_exchange(*communicator, round, 50'000);
            check_all_gather(*communicator, round, 1000);
        }
        check_calls(group, group.rank(), group.size(), 1);
    }
}

// Throws an Error that says what is not as it must be.
void play(const Scene& scene, const std::filesystem::path& file) {
    const int port = free_port();
    Processes processes;
    const auto begin = Clock::now();
    for (int rank = 0; rank < scene.size; ++rank)
        processes.start([&] {
            Launch launch = local_launch(rank, scene.size, port);
            if (scene.has_file)
                launch.meeting_point = {.host = {}, .port = 0, .file = file.string()};
            TcpProcessGroup group(launch, kImpatient);
            call_for_ever(group, scene, begin + scene.delay);
        });
    std::this_thread::sleep_until(begin + scene.delay);
    if (scene.end != End::fail)
        processes.send_signal(scene.victim, scene.end == End::kill ? SIGKILL : SIGSTOP);
    const auto ended = Clock::now();
    for (int rank = 0; rank < scene.size; ++rank) {
        if (rank == scene.victim && scene.end != End::fail)
            continue;
        const auto outcome = processes.wait(rank);
        const bool is_right =
            rank == scene.victim ? outcome.text == "done" : accuses(outcome.text, scene);
        if (!is_right || outcome.when - ended > kLimit)
            throw Error("rank " + std::to_string(rank) + " after " +
                        in_seconds(std::chrono::duration_cast<std::chrono::milliseconds>(
                            outcome.when - ended)) +
                        ": " + outcome.text);
    }
}

}  // namespace

TEST_CASE("whoever dies, stops or fails, at whatever time, all others say so soon") {
    constexpr int kNumScenes = 36;
    constexpr int kAtOnce = 12;
    const TemporaryFolder folder;
    RandomSequence random(20240601);
    Processes directors;
    std::vector<Scene> scenes;
    for (int i = 0; i < kNumScenes; ++i) {
        // those before have had their ends by then, and no more than wait for what is silent
        if (i > 0 && i % kAtOnce == 0)
            std::this_thread::sleep_for(1s);
        const int size = 2 + random.below(4);
        scenes.push_back(
            {.size = size,
             .victim = random.below(size),
             .end = static_cast<End>(i % 3),
             .delay = std::chrono::milliseconds(random.below(random.below(3) == 0 ? 10 : 200)),
             .has_communicator = random.below(3) != 0,
             .has_file = random.below(4) == 0});
        directors.start([&] { play(scenes.back(), folder / ("meeting" + std::to_string(i))); });
    }
    for (int i = 0; i < kNumScenes; ++i) {
        CAPTURE(i);
        CAPTURE(scenes[i].text());
        CHECK(directors.wait(i, 60s).text == "done");
    }
}

TEST_CASE("what was said before a planned end arrives, however late the other reads") {
    const int port = free_port();
    const std::string much(50'000'000, 'x');  // more than connections hold
    const TcpGroupOptions options = {.configuration = "", .last_message = 100ms};
    Processes processes;
    processes.start([&] {
        TcpProcessGroup group(local_launch(0, 2, port), options);
        ::raise(SIGSTOP);
        if (group.gather("") != std::vector<std::string>{"", much})
            throw Error("wrong");
    });
    processes.start([&] {
        TcpProcessGroup group(local_launch(1, 2, port), options);
        std::this_thread::sleep_for(200ms);
        group.gather(much);
    });
    // longer than a process that ends after a failure waits
    std::this_thread::sleep_for(1s);
    processes.send_signal(0, SIGCONT);
    CHECK(processes.wait(0).text == "done");
    CHECK(processes.wait(1).text == "done");
}

TEST_CASE("who was stopped itself does not take it for the silence of others") {
    const int port = free_port();
    const TcpGroupOptions options = {.configuration = "", .silence_limit = kSanitized ? 2s : 1s};
    Processes processes;
    for (int rank = 0; rank < 3; ++rank)
        processes.start([&] {
            TcpProcessGroup group(local_launch(rank, 3, port), options);
            std::this_thread::sleep_for(1s + options.silence_limit);
            group.barrier();
        });
    std::this_thread::sleep_for(500ms);
    for (const int signal : {SIGSTOP, SIGCONT}) {
        for (int rank = 0; rank < 3; ++rank)
            processes.send_signal(rank, signal);
        if (signal == SIGSTOP)
            std::this_thread::sleep_for(options.silence_limit);
    }
    for (int rank = 0; rank < 3; ++rank)
        CHECK(processes.wait(rank).text == "done");
}

TEST_CASE("a process that ends by an exception has failed") {
    const int port = free_port();
    const auto outcomes = outcomes_of(3, [&](int rank) {
        TcpProcessGroup group(local_launch(rank, 3, port), kImpatient);
        group.barrier();
        if (rank == 1)
            throw Error("no more disk");
        group.all_gather("x");
    });
    CHECK(outcomes[1] == "no more disk");
    for (const std::size_t rank : {0, 2})
        CHECK(outcomes[rank] == "rank 1 (host " + own_host_name() +
                                    ") failed: it ended with an error; see its own messages");
}

}  // namespace eplb::test_failures
