#ifndef EPLB_TOOLS_GEN_UPDATE_H
#define EPLB_TOOLS_GEN_UPDATE_H

#include <span>
#include <string>
#include <vector>

#include "lib/placement/plan/update.h"
#include "lib/report/table.h"
#include "tools/gen_options.h"
#include "tools/output.h"

namespace eplb {

// What --current names: the config that a running deployment was started with, of any engine.
// Error: what its reader refuses; ids or slots of another model; a config of online balancing,
// whose experts moved since.
EngineConfig read_current(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context);

// The placements in force of the layers of the statistics, for update_plan(). Layers that the
// config lacks have the engine's default assignment; a note says so. Error: num_slots differ.
std::vector<Placement> current_placements(const cli::Output& out,
                                          const EplbConfig& current,
                                          const std::string& path,
                                          std::span<const int> layers,
                                          int num_experts,
                                          const PlanRequest& request);

// Layers that the statistics lack and the config in force has stay as they are: into the new config
// they go, and out of the layers that are to be filled.
void keep_other_layers(const cli::Output& out,
                       const EplbConfig& current,
                       EplbConfig& config,
                       std::vector<int>& layers_to_fill);

// How much moves and what it is good for, on stderr. bytes_per_expert: 0 where not known.
void print_update(const cli::Output& out,
                  const std::vector<LayerUpdate>& updates,
                  const Plan& plan,
                  std::span<const int> layers,
                  double bytes_per_expert);

// Columns for plan_table(): the imbalance ratio with the placement in force, the slots that move,
// the most of them on one rank and, where it is known what an expert takes, the bytes to load.
void add_update_columns(const std::vector<LayerUpdate>& updates,
                        double bytes_per_expert,
                        Table& table);

}  // namespace eplb

#endif
