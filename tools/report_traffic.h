#ifndef EPLB_TOOLS_REPORT_TRAFFIC_H
#define EPLB_TOOLS_REPORT_TRAFFIC_H

#include "tools/report_views.h"

namespace eplb {

// Views that follow tokens one by one: they read the routed ids beside the counts. Errors name the
// remedy where there are none.
ViewResult make_traffic(const ViewInput& input);
ViewResult make_rank_traffic(const ViewInput& input);

// What is lost with a rank or a node.
ViewResult make_faults(const ViewInput& input);

}  // namespace eplb

#endif
