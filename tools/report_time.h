#ifndef EPLB_TOOLS_REPORT_TIME_H
#define EPLB_TOOLS_REPORT_TIME_H

#include "tools/report_views.h"

namespace eplb {

// The time view, of the batch that was recorded or of another.
ViewResult make_time(const ViewInput& input);

// GateError where the last statistics, under the last config where there is one, take longer than
// --max_time, which must be given; where the view timed them, it is what it found.
void check_max_time(const ViewInput& input, const ViewResult& result);

}  // namespace eplb

#endif
