#ifndef EPLB_TOOLS_REPORT_ANALYSIS_H
#define EPLB_TOOLS_REPORT_ANALYSIS_H

#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/table.h"
#include "lib/report/views/views.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

// The views that set one load against another, of the inputs that check_view_options() lets them
// have.
namespace eplb {

// One statistics with configs: as recorded, then under each. Several with at most one config: each
// as recorded, or under it.
Table comparison_view(const std::vector<ReportInput>& inputs, Bins bins, ThreadPool& threads);

// One statistics or two, and a config or --ep_size and --num_slots.
Table held_out_view(const ReportOptions& options,
                    const std::vector<ReportInput>& inputs,
                    ThreadPool& threads);

// Two statistics, and a config or none.
Table drift_view(const std::vector<ReportInput>& inputs, ThreadPool& threads);

// What comparison takes, from the first to the last; of one subject, to perfect balance.
Table worth_view(const ReportOptions& options,
                 const std::vector<ReportInput>& inputs,
                 ThreadPool& threads);

}  // namespace eplb

#endif
