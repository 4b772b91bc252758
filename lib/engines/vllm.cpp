// vLLM, which loads no placement itself.
#include "lib/engines/default_placement.h"
#include "lib/engines/engine.h"

namespace eplb {

constinit const Engine vllm_engine = {
    .name = "vllm",
    .title = "vLLM",
    .default_placement = in_order_placement,
    .replica_choice = ReplicaChoice::equal_shares,
    .layer_numbering = LayerNumbering::moe_position,
    .config_format = std::nullopt,
};

}  // namespace eplb
