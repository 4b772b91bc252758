#ifndef EPLB_TOOLS_REPORT_TRAFFIC_H
#define EPLB_TOOLS_REPORT_TRAFFIC_H

#include "lib/base/parallel.h"
#include "lib/report/table.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

namespace eplb {

// Views that follow tokens one by one: they read the routed ids beside the counts. `subject` is of
// `input`: its recorded or a projected one. Errors name the remedy where there are no ids.
Table make_traffic_table(const ReportOptions& options,
                         const ReportInput& input,
                         const Subject& subject,
                         ThreadPool& threads);
Table make_rank_traffic_table(const ReportOptions& options,
                              const ReportInput& input,
                              const Subject& subject,
                              ThreadPool& threads);

// What is lost with a rank or a node.
Table make_fault_table(const ReportOptions& options, const Subject& subject);

}  // namespace eplb

#endif
