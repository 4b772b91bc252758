#ifndef EPLB_TESTS_CLUSTER_PROCESSES_H
#define EPLB_TESTS_CLUSTER_PROCESSES_H

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "lib/cluster/launch.h"

namespace eplb::test {

// A port of this host that was free a moment ago.
int free_port();

// Rank `rank` of a run on this host that meets at the port.
Launch local_launch(int rank, int world_size, int port);

// Processes forked from the test. Those that are left at the end are killed.
class Processes {
  public:
    Processes() = default;
    ~Processes();
    Processes(const Processes&) = delete;
    Processes& operator=(const Processes&) = delete;

    // Runs body in a new process, which ends with it. Returns its number, from 0.
    int start(const std::function<void()>& body);
    void send_signal(int process, int signal);

    struct Outcome {
        // "done"; the text of the Error that body threw; or how else it ended: "signal 9", "hangs"
        std::string text;
        std::chrono::steady_clock::time_point when;
    };
    // Waits for a process, and kills it at the deadline.
    Outcome wait(int process, std::chrono::steady_clock::time_point deadline);
    Outcome wait(int process, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
        return wait(process, std::chrono::steady_clock::now() + limit);
    }

  private:
    struct Process {
        pid_t id;
        int pipe;  // carries the text
        bool is_over;
    };
    std::vector<Process> processes_;
};

// Starts ranks 0 to world_size - 1 of a run and returns what became of each.
std::vector<std::string> outcomes_of(int world_size, const std::function<void(int rank)>& body);

}  // namespace eplb::test

#endif
