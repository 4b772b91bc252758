#ifndef EPLB_TOOLS_REPORT_PAGE_H
#define EPLB_TOOLS_REPORT_PAGE_H

#include <string>

#include "tools/report_views.h"

namespace eplb {

// The page of --html. Its headline is the verdict of the view asked for, with the view's other
// notes below it; of a view that has none, the comparison's where there is something to compare,
// else that of the layers. Tables: the view's (`result`, sorted and cut), the comparison, and
// layers, percentiles and ranks of each subject, as many as have bars.
std::string html_page(const ViewInput& input, const ViewResult& result);

}  // namespace eplb

#endif
