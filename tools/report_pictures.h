#ifndef EPLB_TOOLS_REPORT_PICTURES_H
#define EPLB_TOOLS_REPORT_PICTURES_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

namespace eplb {

// UsageError where --heatmap or --html contradict other options.
void check_picture_options(const ReportOptions& options);

// One heatmap below the other, for the output of the report.
std::string heatmap_text(const ReportOptions& options,
                         const std::vector<ReportInput>& inputs,
                         ThreadPool& threads);

}  // namespace eplb

#endif
