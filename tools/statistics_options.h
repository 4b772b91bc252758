#ifndef EPLB_TOOLS_STATISTICS_OPTIONS_H
#define EPLB_TOOLS_STATISTICS_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/formats/configs/config_file.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/placement/route/load_summary.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "tools/cli.h"

// Statistics and configs as eplb-report and eplb-gen are given them on the command line.
namespace eplb::cli {

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
// Of these, the two that tell how a config is read.
void add_config_options(CLI::App& app, StatisticsOptions& options);

// The files that they name, for check_output().
std::vector<std::string> files_of(const StatisticsOptions& options);

// What --first_moe_layer and --moe_layers say; UsageError where both are given.
LayerOptions layer_options(const StatisticsOptions& options);

// What the options say of the model, for configs that leave it open.
ConfigContext config_context(const StatisticsOptions& options);

// A config of any engine. Several of a run may differ in their formats: --config_format is for
// those that look alike, sglang's and hygon's. Warns of what is odd about it.
EngineConfig read_engine_config(const CLI::App& app,
                                const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context);
// The same, which says nothing.
EngineConfig read_engine_config(const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context);

// Where they come from: --expert_statistic_path, or arguments without a flag. `purpose` says what
// becomes of several: "compare them".
CLI::Option* add_statistics_paths(CLI::App& app,
                                  std::vector<std::string>& paths,
                                  const std::string& purpose);

// The names of --output_format and --config_format.
std::vector<std::pair<std::string, ConfigFormat>> config_format_choices();

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

}  // namespace eplb::cli

#endif
