#ifndef EPLB_TOOLS_REPORT_PAGE_H
#define EPLB_TOOLS_REPORT_PAGE_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/table.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

namespace eplb {

// The page of --html. Its headline is the verdict of the view asked for (`table`), with the view's
// other notes below it; of a view that has none, the comparison's where there is something to
// compare, else that of the layers. Tables: the view's, the comparison, and layers, percentiles and
// ranks of each subject, as many as have bars.
std::string html_page(const ReportOptions& options,
                      const std::vector<ReportInput>& inputs,
                      const Table& table,
                      ThreadPool& threads);

}  // namespace eplb

#endif
