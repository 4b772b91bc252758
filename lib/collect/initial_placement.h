#ifndef EPLB_COLLECT_INITIAL_PLACEMENT_H
#define EPLB_COLLECT_INITIAL_PLACEMENT_H

#include <optional>

#include "lib/model/model_config.h"
#include "lib/placement/placement.h"

namespace eplb {

// Throws where ep_size and the config do not fit the model: a UsageError without a config, for then
// the experts themselves must be divisible, else an Error.
void check_deployment(const MoeModelConfig& model,
                      int ep_size,
                      const std::optional<EplbConfig>& config);

// Where the experts of a layer (a position among the MoE layers) stand at the start: as the config
// assigns them, else as the engine does by default. Errors name the layer.
Placement initial_placement(const MoeModelConfig& model,
                            int layer,
                            int ep_size,
                            const std::optional<EplbConfig>& config);

}  // namespace eplb

#endif
