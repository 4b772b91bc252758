#ifndef EPLB_TOOLS_REPORT_PROFILE_H
#define EPLB_TOOLS_REPORT_PROFILE_H

#include "tools/output.h"
#include "tools/report_options.h"

namespace eplb {

// UsageError where --fit_time_profile is given with what says nothing to it.
void check_profile_options(const ReportOptions& options);

// What --fit_time_profile does: fits a time profile to a table, writes it, and says how near it
// comes.
void fit_time_profile(const cli::Output& out, const ReportOptions& options);

}  // namespace eplb

#endif
