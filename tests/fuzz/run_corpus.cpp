// What libFuzzer's driver is for a fuzz target, for any compiler and a moment's time: runs each
// file of a corpus, its truncations at every byte (of files up to 4 KB; of larger ones 4096 evenly
// spread), and copies with one byte changed. Deterministic.
//
// usage: fuzz_corpus TARGET FOLDER_OR_FILE…
//
// A fault ends the program; the input in work is then named on stderr.
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "tests/fuzz/fuzz_target.h"

// of the sanitizers, where they are linked: called before they end the program
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTruncations = 4096;
constexpr std::size_t kNumChanges = 2000;  // of the whole corpus
constexpr rlim_t kHangSeconds = 50;        // of the processor: then something hangs

char input_in_work[512];  // a signal handler may read it

void print_input_in_work() {
    std::fprintf(stderr, "the input was %s\n", input_in_work);
}

void print_input_and_die(int signal) {
    print_input_in_work();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void run(eplb::fuzz::Feed feed, const std::string& bytes, const std::string& name) {
    std::snprintf(input_in_work, sizeof input_in_work, "%s", name.c_str());
    // memory of its own, so that a sanitizer sees a step past the end
    const std::vector<char> copy(bytes.begin(), bytes.end());
    feed({copy.data(), copy.size()});
}

struct Input {
    std::string name;
    std::string bytes;
};

std::vector<Input> read_corpus(const std::vector<std::string>& paths) {
    std::vector<std::string> files;
    for (const std::string& path : paths) {
        if (!fs::is_directory(path)) {
            files.push_back(path);
            continue;
        }
        for (const fs::directory_entry& entry : fs::directory_iterator(path))
            files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
    std::vector<Input> corpus;
    for (const std::string& file : files)
        corpus.push_back({file, eplb::read_file(file)});
    return corpus;
}

// The bytes that mean something to a text format come more often than others.
std::uint8_t changed_byte(std::uint32_t random) {
    constexpr char kTelling[] = "{}[]\",:-+.0129eE_#&*!|>?%@\n\t \0\x7f\x80\xff";
    return static_cast<std::uint8_t>(random % 4 == 0 ? static_cast<char>(random >> 8)
                                                     : kTelling[(random >> 8) % sizeof kTelling]);
}

void run_changes(eplb::fuzz::Feed feed, const std::vector<Input>& corpus) {
    std::uint64_t state = 1;  // Knuth's linear congruential generator
    const auto random = [&] {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>(state >> 33);
    };
    for (std::size_t i = 0; i < kNumChanges; ++i) {
        const Input& input = corpus[i % corpus.size()];
        if (input.bytes.empty())
            continue;
        const std::size_t position = random() % input.bytes.size();
        const std::uint8_t byte = changed_byte(random());
        std::string bytes = input.bytes;
        bytes[position] = static_cast<char>(byte);
        run(feed, bytes,
            input.name + ", byte " + std::to_string(position) + " set to " + std::to_string(byte));
    }
}

// At every byte, or at evenly spread ones of a long input.
void run_truncations(eplb::fuzz::Feed feed, const Input& input) {
    const std::size_t step = (input.bytes.size() + kMaxTruncations - 1) / kMaxTruncations;
    for (std::size_t size = 0; size < input.bytes.size(); size += step)
        run(feed, input.bytes.substr(0, size), input.name + ", cut to " + std::to_string(size));
}

}  // namespace

int main(int argc, char** argv) {
    for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGXCPU})
        std::signal(signal, print_input_and_die);
    const rlimit limit = {kHangSeconds, kHangSeconds + 10};
    ::setrlimit(RLIMIT_CPU, &limit);
    if (&__sanitizer_set_death_callback != nullptr)
        __sanitizer_set_death_callback(print_input_in_work);
    const auto target = eplb::fuzz::targets().find(argc > 1 ? argv[1] : "");
    if (target == eplb::fuzz::targets().end()) {
        std::fprintf(stderr, "usage: %s TARGET FOLDER_OR_FILE...; targets:", argv[0]);
        for (const auto& [name, feed] : eplb::fuzz::targets())
            std::fprintf(stderr, " %s", name.c_str());
        std::fprintf(stderr, "\n");
        return 2;
    }
    const std::vector<Input> corpus = read_corpus({argv + 2, argv + argc});
    if (corpus.empty()) {
        std::fprintf(stderr, "%s: no file of the corpus is there\n", argv[0]);
        return 2;
    }
    const eplb::fuzz::Feed feed = target->second;
    for (const Input& input : corpus) {
        run(feed, input.bytes, input.name);
        run_truncations(feed, input);
    }
    run_changes(feed, corpus);
    return 0;
}
