#ifndef EPLB_TOOLS_COLLECT_H
#define EPLB_TOOLS_COLLECT_H

#include "tools/collect_options.h"

namespace eplb::cli {

// The two kinds of runs of eplb-collect; both give the exit code.
int collect_preset(const Output& out, const CollectOptions& options);      // a synthetic model
int collect_checkpoint(const Output& out, const CollectOptions& options);  // --model

}  // namespace eplb::cli

#endif
