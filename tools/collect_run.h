#ifndef EPLB_TOOLS_COLLECT_RUN_H
#define EPLB_TOOLS_COLLECT_RUN_H

#include "tools/collect_options.h"
#include "tools/output.h"

namespace eplb::cli {

// What eplb-collect does; gives the exit code.
int collect(const Output& out, const CollectOptions& options);

}  // namespace eplb::cli

#endif
