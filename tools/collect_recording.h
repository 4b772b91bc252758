#ifndef EPLB_TOOLS_COLLECT_RECORDING_H
#define EPLB_TOOLS_COLLECT_RECORDING_H

#include <optional>
#include <string>

#include "lib/collect/recorder.h"
#include "tools/collect_options.h"
#include "tools/output.h"

namespace eplb::cli {

// Signals that end a run set a mark, and a second one ends the program at once.
void stop_at_signals();
bool is_interrupted();

// Opens the destination; says so where it replaces statistics.
void open_recorder(const Output& out,
                   const CollectOptions& options,
                   const ExpertStatistics& shape,
                   const IterationRange& range,
                   const std::string& path,
                   int first_rank,
                   ProcessGroup* group,
                   std::optional<Recorder>& recorder);

// Writes the recording and says what it holds.
void finish_recording(const Output& out,
                      Recorder& recorder,
                      const std::string& path,
                      const IterationRange& range,
                      double imbalance_ratio,
                      const std::string& how_it_ended);

}  // namespace eplb::cli

#endif
