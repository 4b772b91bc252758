#ifndef EPLB_TOOLS_REPORT_ANALYSIS_H
#define EPLB_TOOLS_REPORT_ANALYSIS_H

#include <string>

#include "tools/report_views.h"

// The views that set one load against another, and what each of them takes.
namespace eplb {

// One statistics with configs: as recorded, then under each. Several with at most one config: each
// as recorded, or under it.
std::string refusal_of_comparison(const ReportOptions& options);
ViewResult make_comparison(const ViewInput& input);

// One statistics or two, and a config or --ep_size and --num_slots.
std::string refusal_of_held_out(const ReportOptions& options);
ViewResult make_held_out(const ViewInput& input);

// Two statistics, and a config or none.
std::string refusal_of_drift(const ReportOptions& options);
ViewResult make_drift(const ViewInput& input);

// What comparison takes, from the first to the last; of one subject, to perfect balance.
std::string refusal_of_worth(const ReportOptions& options);
ViewResult make_worth(const ViewInput& input);

}  // namespace eplb

#endif
