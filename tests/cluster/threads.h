#ifndef EPLB_TESTS_CLUSTER_THREADS_H
#define EPLB_TESTS_CLUSTER_THREADS_H

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "lib/cluster/thread_group.h"

namespace eplb::test {

// Runs body as each member of a group, in a thread of its own, and returns what became of each:
// "done", or the text of its Error.
inline std::vector<std::string> outcomes_of_threads(
    int size, const std::function<void(ProcessGroup& group, int rank)>& body) {
    ThreadGroup shared(size);
    std::vector<std::string> outcomes(size, "done");
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
        threads.emplace_back([&, rank] {
            try {
                const auto group = shared.member(rank);
                body(*group, rank);
            } catch (const Error& error) {
                outcomes[rank] = error.what();
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    return outcomes;
}

}  // namespace eplb::test

#endif
