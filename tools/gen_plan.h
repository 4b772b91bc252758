#ifndef EPLB_TOOLS_GEN_PLAN_H
#define EPLB_TOOLS_GEN_PLAN_H

#include "lib/formats/configs/config_file.h"
#include "lib/report/table.h"
#include "tools/gen_options.h"
#include "tools/output.h"

namespace eplb {

// A config, and what is known of each layer.
struct FittedConfig {
    EngineConfig config;
    Table report;
};

// Fits placements to the statistics and says what they are good for. Sets what `context` lacks and
// the statistics tell.
FittedConfig fit_config(const cli::Output& out, const GenOptions& options, ConfigContext& context);

}  // namespace eplb

#endif
