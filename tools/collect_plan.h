#ifndef EPLB_TOOLS_COLLECT_PLAN_H
#define EPLB_TOOLS_COLLECT_PLAN_H

#include <string>

#include "lib/collect/run_cost.h"

namespace eplb::cli {

// For --plan, some lines. size: of the whole checkpoint; has_dataset: else lengths are assumed.
std::string plan_text(const PlannedRun& run, const CheckpointSize& size, bool has_dataset);
std::string plan_line(const PlannedRun& run);  // the same in one

// "3 h 20 min", "45 s"
std::string duration_text(double seconds);

}  // namespace eplb::cli

#endif
