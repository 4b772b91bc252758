#ifndef EPLB_TOOLS_GEN_SWEEP_H
#define EPLB_TOOLS_GEN_SWEEP_H

#include "tools/gen_options.h"
#include "tools/output.h"

namespace eplb {

// --sweep; gives the exit code.
int print_sweep(const cli::Output& out, const GenOptions& options);

}  // namespace eplb

#endif
