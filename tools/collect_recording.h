#ifndef EPLB_TOOLS_COLLECT_RECORDING_H
#define EPLB_TOOLS_COLLECT_RECORDING_H

#include <string>

#include "lib/collect/recorder.h"
#include "tools/output.h"

namespace eplb::cli {

// Signals that end a run set a mark, and a second one ends the program at once.
void stop_at_signals();
bool is_interrupted();

// Says so where a recording would replace statistics.
void note_replaced(const Output& out, const std::string& path);

// Writes the recording and says what it holds.
void finish_recording(const Output& out,
                      Recorder& recorder,
                      const std::string& path,
                      const IterationRange& range,
                      double imbalance_ratio,
                      const std::string& how_it_ended);

}  // namespace eplb::cli

#endif
