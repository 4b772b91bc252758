#ifndef EPLB_TOOLS_REPORT_PICTURES_H
#define EPLB_TOOLS_REPORT_PICTURES_H

#include <string>

#include "tools/report_views.h"

namespace eplb {

// UsageError where --heatmap or --html contradict other options.
void check_picture_options(const ReportOptions& options);

// One heatmap below the other, for the output of the report.
std::string heatmap_text(const ViewInput& input);

}  // namespace eplb

#endif
