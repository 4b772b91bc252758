#ifndef EPLB_TOOLS_GEN_UPDATE_H
#define EPLB_TOOLS_GEN_UPDATE_H

#include <span>
#include <string>
#include <vector>

#include "lib/placement/plan/update_summary.h"
#include "tools/gen_options.h"
#include "tools/output.h"

namespace eplb {

// What --current names: the config that a running deployment was started with, of any engine.
// Error: what its reader refuses; ids or slots of another model; a config of online balancing,
// whose experts moved since.
EngineConfig read_current(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context);

// The placements in force of the layers of the statistics. Layers that the config lacks have the
// engine's default assignment; a note says so. Error: num_slots differ.
std::vector<Placement> current_placements(const cli::Output& out,
                                          const EplbConfig& current,
                                          const std::string& path,
                                          std::span<const int> layers,
                                          int num_experts,
                                          const PlanRequest& request);

// How much moves and what it is good for. layers: ids; bytes_per_expert: 0 where not known.
void print_update(const cli::Output& out,
                  const UpdateSummary& update,
                  const Plan& plan,
                  std::span<const int> layers,
                  double bytes_per_expert);

}  // namespace eplb

#endif
