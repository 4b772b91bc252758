#ifndef EPLB_TOOLS_CLI_H
#define EPLB_TOOLS_CLI_H

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/text/table_writers.h"
#include "lib/statistics/selection.h"

// What the three tools share: the frame around main(), validators, and kinds of options.
namespace eplb::cli {

enum ExitCode {
    kDone = 0,
    kFailed = 1,      // data or I/O
    kUsage = 2,       // the command line
    kGateFailed = 3,  // what was to be checked does not hold
    kInterrupted = 130,
};

struct Tool {
    std::string name;
    std::string description;
    std::function<void(CLI::App&)> add_options;
    std::function<int(const CLI::App&)> run;  // gives the exit code
};

// Parses, runs, turns exceptions into "NAME: error: …" on stderr and an exit code.
int run_tool(const Tool& tool, int argc, char** argv);

// Refuses an output that would replace one of the inputs, or a file of the statistics folder.
void check_output(const std::string& output_path, const std::vector<std::string>& inputs);

// False too where nothing can be told of the path.
bool is_folder(const std::string& path);

// Whether two paths lead to one file or folder, which need not be there.
bool is_same_file(const std::string& a, const std::string& b);

// The content of an input file, of standard input for "-", and what messages call it.
std::string read_input(const std::string& path);
std::string name_of_input(const std::string& path);

// "NAME: warning: …" and "NAME: …" on stderr.
void warn(const CLI::App& app, const std::string& text);
void note(const CLI::App& app, const std::string& text);

// From here on this thread has no notes, warnings or progress: another one speaks for it.
void keep_quiet();
bool is_quiet();

// A flag in upstream's spelling, with underscores, and with hyphens:
// flag("num_slots") is "--num_slots,--num-slots".
std::string flag(const std::string& name);

// An integer in [minimum, maximum].
CLI::Validator between(std::int64_t minimum, std::int64_t maximum);

// Numbers of things: integers from 1, or from 0, to a million or so, beyond which only a slip of
// the hand goes. And ids of iterations, and seeds: integers from 0.
const CLI::Validator& positive();
const CLI::Validator& non_negative();
const CLI::Validator& id();

// Any text but none: an empty one is a shell variable that was not set.
const CLI::Validator& not_empty();

template <typename Value>
struct ChoiceOf {
    using type = Value;
};
template <typename Value>
struct ChoiceOf<std::optional<Value>> {
    using type = Value;
};

// An option that takes one of some names; its help and its error list them. An optional target has
// no default.
template <typename Target>
CLI::Option* add_choice(
    CLI::App& app,
    const std::string& flags,
    Target& target,
    const std::vector<std::pair<std::string, typename ChoiceOf<Target>::type>>& choices,
    const std::string& description) {
    std::string names;
    std::string default_name;
    for (const auto& [name, choice] : choices) {
        names += (names.empty() ? "" : ", ") + name;
        if (choice == target)
            default_name = name;
    }
    return app
        .add_option_function<std::string>(
            flags,
            [&target, choices, flags, names](const std::string& given) {
                for (const auto& [name, choice] : choices)
                    if (name == given) {
                        target = choice;
                        return;
                    }
                throw CLI::ValidationError(flags, "'" + given + "' is none of " + names);
            },
            description + ": " + names)
        ->type_name("NAME")
        ->default_str(default_name);
}

// "3,10-20" -> {3, 10, 11, …, 20}; throws UsageError naming `option`.
std::vector<int> parse_layer_list(const std::string& text, const std::string& option);

// "100-200", by the rules of upstream's EXPERT_STATISTIC_ITER_RANGE and with start < stop; throws
// UsageError naming `origin`.
IterationRange parse_iteration_range(const std::string& text, const std::string& origin);

// Numbers separated by commas; throws UsageError naming `option`.
std::vector<int> parse_numbers(const std::string& text, const std::string& option);
// Each in [1e-6, 1e6].
std::vector<double> parse_positive_reals(const std::string& text, const std::string& option);

// A real number that is 0 or more, and not infinite; and one in [1e-6, 1e6].
const CLI::Validator& non_negative_real();
const CLI::Validator& positive_real();

// Adds --format.
void add_format_option(CLI::App& app, TableFormat& format, const std::string& description);

// Adds --threads.
void add_threads_option(CLI::App& app, int& num_threads);

}  // namespace eplb::cli

#endif
