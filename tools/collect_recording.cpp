#include "tools/collect_recording.h"

#include <atomic>
#include <csignal>
#include <filesystem>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "tools/terminal.h"

namespace eplb::cli {
namespace {

std::atomic<bool> interrupted = false;

// What is being written is finished first.
void ignore_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        std::signal(signal, SIG_IGN);
}

}  // namespace

bool is_interrupted() {
    return interrupted;
}

void stop_at_signals() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends the run at once
    for (const int signal : {SIGINT, SIGTERM})
        ::sigaction(signal, &action, nullptr);
    // under nohup a hang-up is none of our business
    struct sigaction inherited = {};
    if (::sigaction(SIGHUP, nullptr, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
        ::sigaction(SIGHUP, &action, nullptr);
}

void note_replaced(const Output& out, const std::string& path) {
    if (path != "-" && std::filesystem::exists(std::filesystem::path(path) / "meta_info.json"))
        out.note("the statistics in " + path + " will be replaced");
}

void finish_recording(const Output& out,
                      Recorder& recorder,
                      const std::string& path,
                      const IterationRange& range,
                      double imbalance_ratio,
                      const std::string& how_it_ended) {
    const std::int64_t recorded = recorder.num_recorded();
    if (recorded == 0)
        throw Error("nothing was recorded: " + how_it_ended + ", before iteration " +
                    std::to_string(range.start));
    ignore_signals();
    recorder.finish();
    if (recorded < range.stop - range.start)
        out.warn("recorded " + std::to_string(recorded) + " of " +
                 std::to_string(range.stop - range.start) + " iterations: " + how_it_ended);
    out.note("iterations " + std::to_string(range.start) + "-" +
             std::to_string(range.start + recorded) + " recorded in " +
             (path == "-" ? "the stream" : path) + ", average imbalance ratio " +
             formatted("%.3f", imbalance_ratio));
}

}  // namespace eplb::cli
