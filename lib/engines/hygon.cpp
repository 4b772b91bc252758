// HYGON's vLLM plugin. Source of the rules: vllm-plugin-das #34 and #69.
#include "lib/engines/config_rules.h"
#include "lib/engines/default_placement.h"
#include "lib/engines/engine.h"

namespace eplb {
namespace {

void judge_for_hygon(const ConfigInUse& in_use, ConfigVerdict& verdict) {
    if (const std::string duplicates = duplicates_text(in_use.config, in_use.ep_size);
        !duplicates.empty())
        verdict.warnings.push_back(std::string(in_use.name) + ": " + duplicates +
                                   "; vLLM had wrong results where the weights' mover does not "
                                   "expect that (vllm #18343)");
}

}  // namespace

constinit const Engine hygon_engine = {
    .name = "hygon",
    .title = "HYGON's vLLM plugin",
    .default_placement = in_order_placement,
    .replica_choice = ReplicaChoice::equal_shares,
    .layer_numbering = LayerNumbering::moe_position,
    .config_format = ConfigFormat::hygon,
    .load_with = R"(--enable-eplb --eplb-config '{"expert_map_path": "map.json"}')",
    .has_model_key = true,
    .judge = judge_for_hygon,
};

}  // namespace eplb
