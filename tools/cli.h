#ifndef EPLB_TOOLS_CLI_H
#define EPLB_TOOLS_CLI_H

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/formats/config_file.h"
#include "lib/formats/statistics_source.h"
#include "lib/report/load_summary.h"
#include "lib/report/table_writers.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

// What the three tools share: the frame around main(), validators, and options that mean the same
// everywhere.
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

// The names of --output_format and --config_format.
std::vector<std::pair<std::string, ConfigFormat>> config_format_choices();

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

// Which part of the statistics counts, and how they are read.
struct StatisticsOptions {
    std::optional<std::int64_t> iter_start;
    std::optional<std::int64_t> iter_stop;
    std::string load_balancer;  // the config in force while slot ids were recorded
    std::optional<InputFormat> input_format;
    std::optional<int> first_moe_layer;
    std::string moe_layers;    // a list, as typed
    int num_experts = 0;       // of formats that list ids alone; 0: not given
    std::string model_config;  // the model's config.json, which says the three above
    std::optional<ConfigFormat> config_format;  // of configs that are read
    std::string model_key;                      // in hygon's maps
    // of several recordings, those that hold experts are left as they are by load_balancer
    bool may_hold_experts = false;
    int num_threads = 0;
};
void add_statistics_options(CLI::App& app, StatisticsOptions& options);

// The files that they name, for check_output().
std::vector<std::string> files_of(const StatisticsOptions& options);

// What --first_moe_layer and --moe_layers say; UsageError where both are given.
LayerOptions layer_options(const StatisticsOptions& options);

// What the options say of the model, for configs that leave it open.
ConfigContext config_context(const StatisticsOptions& options);

// A config of any engine, in --config_format where that is given. Warns of what is odd about it.
EngineConfig read_engine_config(const CLI::App& app,
                                const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context);

// Where they come from: --expert_statistic_path, or the argument without a flag.
CLI::Option* add_statistics_path(CLI::App& app, std::string& path);
// The same, of several; `purpose` says what becomes of them: "compare them".
CLI::Option* add_statistics_paths(CLI::App& app,
                                  std::vector<std::string>& paths,
                                  const std::string& purpose);

// Numbers separated by commas; throws UsageError naming `option`.
std::vector<int> parse_numbers(const std::string& text, const std::string& option);
// Each in [1e-6, 1e6].
std::vector<double> parse_positive_reals(const std::string& text, const std::string& option);

// A real number that is 0 or more, and not infinite; and one in [1e-6, 1e6].
const CLI::Validator& non_negative_real();
const CLI::Validator& positive_real();

// Where statistics were folded: what the slots computed, and the config in force.
struct RecordedUnder {
    std::vector<LayerLoad> slot_load;  // [layers], bins are slots
    EplbConfig config;
};

enum class Sources { summed, kept };

// Reads them, slot ids folded to experts where load_balancer is given (then with `under`, if not
// null). rows, if not null, sees each source rank's counts, folded too. Warns of what is odd about
// them. Error where they hold no tokens at all.
ExpertStatistics load_statistics(const CLI::App& app,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 std::optional<RecordedUnder>* under = nullptr,
                                 RowSink* rows = nullptr);

// Per layer, over ranks that hold the recorded experts (or slots) in order; ep_size must divide
// them.
std::vector<LoadSummary> recorded_summaries(const ExpertStatistics& statistics, int ep_size);

// Keeps only some layers; throws Error naming one that is not there, and the recording by `name`.
void keep_layers(ExpertStatistics& statistics,
                 const std::vector<int>& layers,
                 const std::string& name);

// Adds --format.
void add_format_option(CLI::App& app, TableFormat& format, const std::string& description);

// Adds --threads.
void add_threads_option(CLI::App& app, int& num_threads);

}  // namespace eplb::cli

#endif
