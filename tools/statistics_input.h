#ifndef EPLB_TOOLS_STATISTICS_INPUT_H
#define EPLB_TOOLS_STATISTICS_INPUT_H

#include <optional>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/rank_load.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "tools/output.h"
#include "tools/statistics_options.h"

// Statistics and configs that the options name.
namespace eplb::cli {

// What the options say of the model, for configs that leave it open.
ConfigContext config_context(const StatisticsOptions& options);

// A config of any engine. Several of a run may differ in their formats: --config_format is for
// those that look alike, sglang's and hygon's. Warns of what is odd about it.
EngineConfig read_engine_config(const Output& out,
                                const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context);
// The same, which says nothing.
EngineConfig read_engine_config(const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context);

// Where statistics were folded: what the slots computed, and the config in force.
struct RecordedUnder {
    std::vector<LayerLoad> slot_load;  // [layers], bins are slots
    EplbConfig config;
};

enum class Sources { summed, kept };

// Reads them, slot ids folded to experts where load_balancer is given (then with `under`, if not
// null). rows, if not null, sees each source rank's counts, folded too. Warns of what is odd about
// them. Error where they hold no tokens at all.
ExpertStatistics load_statistics(const Output& out,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 std::optional<RecordedUnder>* under = nullptr,
                                 RowSink* rows = nullptr);

}  // namespace eplb::cli

#endif
