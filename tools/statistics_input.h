#ifndef EPLB_TOOLS_STATISTICS_INPUT_H
#define EPLB_TOOLS_STATISTICS_INPUT_H

#include <string>

#include "lib/base/parallel.h"
#include "lib/formats/configs/config_file.h"
#include "lib/formats/statistics/recording.h"
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

enum class Sources { summed, kept };

// Reads them, slot ids folded to experts where load_balancer is given. rows, if not null, sees each
// source rank's counts, folded too. Warns of what is odd about them.
RecordingReading load_statistics(const Output& out,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 RowSink* rows = nullptr);

}  // namespace eplb::cli

#endif
