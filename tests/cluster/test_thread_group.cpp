#include <chrono>
#include <thread>

#include "lib/cluster/thread_group.h"
#include "tests/cluster/group_calls.h"
#include "tests/cluster/threads.h"
#include "tests/test_support.h"

namespace eplb::test_thread_group {

using namespace eplb::test;
using namespace std::chrono_literals;

TEST_CASE("what threads gather is what each has sent, in the order of ranks") {
    for (const int size : {1, 2, 3, 8})
        CHECK(outcomes_of_threads(size, [&](ProcessGroup& group, int rank) {
                  check_calls(group, rank, size, 50);
              }) == std::vector<std::string>(size, "done"));
}

TEST_CASE("a thread that fails wakes all others, with its words") {
    for (const int victim : {0, 1, 3}) {
        const auto outcomes = outcomes_of_threads(4, [&](ProcessGroup& group, int rank) {
            group.barrier();
            if (rank == victim) {
                std::this_thread::sleep_for(20ms);
                group.fail("out of memory");
                return;
            }
            if (rank == 2)  // one that does something else
                while (true) {
                    group.check();
                    std::this_thread::sleep_for(1ms);
                }
            group.barrier();
        });
        for (int rank = 0; rank < 4; ++rank)
            CHECK(outcomes[rank] == (rank == victim ? "done"
                                                    : "rank " + std::to_string(victim) +
                                                          " (a thread) failed: out of memory"));
    }
}

TEST_CASE("a thread that ends by an exception has failed") {
    const auto outcomes = outcomes_of_threads(3, [](ProcessGroup& group, int rank) {
        group.barrier();
        if (rank == 1)
            throw Error("no more disk");
        group.all_gather("x");
    });
    CHECK(outcomes[1] == "no more disk");
    for (const std::size_t rank : {0, 2})
        CHECK_STARTS_WITH(outcomes[rank],
                          "rank 1 (a thread) failed: it ended with an error; see its own messages");
}

TEST_CASE("a thread that ends as planned is no failure until others wait for it") {
    const auto outcomes = outcomes_of_threads(3, [](ProcessGroup& group, int rank) {
        group.gather("x");
        if (rank == 2)
            return;
        std::this_thread::sleep_for(20ms);
        group.check();
        group.barrier();
    });
    CHECK(outcomes[2] == "done");
    for (const std::size_t rank : {0, 1})
        CHECK_STARTS_WITH(
            outcomes[rank],
            "rank 2 (a thread) has ended without taking part in call 2, barrier: see");
}

TEST_CASE("threads that are out of step are noticed") {
    for (const std::string& outcome : outcomes_of_threads(2, [](ProcessGroup&group, int rank) {
             if (rank == 0)
                 group.gather("x");
             else
                 group.barrier();
             group.barrier();
         }))
        CHECK_STARTS_WITH(
            outcome,
            "rank 1 (a thread) is out of step: it calls barrier (call 1) where rank 0 "
            "(a thread) calls gather (call 1)");
}

TEST_CASE("a thread that a signal ends is told apart from one that fails") {
    std::vector<int> num_interrupted(3);
    const auto outcomes = outcomes_of_threads(3, [&](ProcessGroup& group, int rank) {
        if (rank == 1) {
            group.interrupt();
            return;
        }
        try {
            group.barrier();
        } catch (const InterruptedError&) {
            ++num_interrupted[rank];
            throw;
        }
    });
    CHECK(num_interrupted == std::vector<int>{1, 0, 1});
    CHECK(outcomes[0] == "rank 1 (a thread) failed: it was interrupted");
}

}  // namespace eplb::test_thread_group
