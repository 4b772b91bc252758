#include "tests/cluster/processes.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>

#include "lib/base/error.h"
#include "lib/cluster/socket.h"
#include "tests/catch.h"

namespace eplb::test {

int free_port() {
    return port_of(listen_at(0, "127.0.0.1"));
}

Launch local_launch(int rank, int world_size, int port) {
    return {.rank = rank,
            .world_size = world_size,
            .local_rank = rank,
            .meeting_point = {.host = "127.0.0.1", .port = port, .file = {}},
            .source = "test"};
}

Processes::~Processes() {
    for (std::size_t i = 0; i < processes_.size(); ++i)
        if (!processes_[i].is_over)
            wait(static_cast<int>(i), std::chrono::steady_clock::now());
}

int Processes::start(const std::function<void()>& body) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t id = ::fork();
    REQUIRE(id >= 0);
    if (id == 0) {
        ::close(ends[0]);
        std::string text = "done";
        try {
            body();
        } catch (const Error& error) {
            text = error.what();
        } catch (const std::exception& error) {
            text = std::string("not an Error: ") + error.what();
        }
        // the test's own destructors and reports are for the parent
        ::_exit(::write(ends[1], text.data(), text.size()) < 0 ? 1 : 0);
    }
    ::close(ends[1]);
    processes_.push_back({.id = id, .pipe = ends[0], .is_over = false});
    return static_cast<int>(processes_.size()) - 1;
}

void Processes::send_signal(int process, int signal) {
    REQUIRE(::kill(processes_[process].id, signal) == 0);
}

Processes::Outcome Processes::wait(int number, std::chrono::steady_clock::time_point deadline) {
    Process& process = processes_[number];
    Outcome outcome;
    // the pipe ends with the process, whose text is shorter than a pipe holds
    pollfd entry = {.fd = process.pipe, .events = POLLIN, .revents = 0};
    char bytes[4096];
    bool is_hanging = false;
    while (true) {
        if (::poll(&entry, 1, milliseconds_until(deadline)) <= 0) {
            is_hanging = true;
            break;
        }
        const ssize_t n = ::read(process.pipe, bytes, sizeof bytes);
        if (n <= 0)
            break;
        outcome.text.append(bytes, static_cast<std::size_t>(n));
    }
    outcome.when = std::chrono::steady_clock::now();
    if (is_hanging)
        ::kill(process.id, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(process.id, &status, 0) == process.id);
    ::close(process.pipe);
    process.is_over = true;
    if (is_hanging)
        outcome.text = "hangs";
    else if (WIFSIGNALED(status))
        outcome.text = "signal " + std::to_string(WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        outcome.text = "exit code " + std::to_string(WEXITSTATUS(status));
    return outcome;
}

std::vector<std::string> outcomes_of(int world_size, const std::function<void(int rank)>& body) {
    Processes processes;
    for (int rank = 0; rank < world_size; ++rank)
        processes.start([&] { body(rank); });
    std::vector<std::string> outcomes;
    for (int rank = 0; rank < world_size; ++rank)
        outcomes.push_back(processes.wait(rank).text);
    return outcomes;
}

}  // namespace eplb::test
