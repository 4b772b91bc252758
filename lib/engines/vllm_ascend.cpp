// vllm-ascend. Source of the rules: vllm-project/vllm-ascend, expert_load_balancer.py, and its
// maintainers in #1116.
#include "lib/engines/config_rules.h"
#include "lib/engines/default_placement.h"
#include "lib/engines/engine.h"

namespace eplb {
namespace {

// its documentation advises against balancing the decoding of models with no more slots per device
constexpr int kFewSlotsPerRank = 8;

void judge_for_vllm_ascend(const ConfigInUse& in_use, ConfigVerdict& verdict) {
    const std::string name(in_use.name);
    if (const std::string duplicates = duplicates_text(in_use.config, in_use.ep_size);
        !duplicates.empty())
        verdict.errors.push_back(name + ": " + duplicates +
                                 "; vllm-ascend needs replicas of an expert on different devices");
    const int slots_per_rank = in_use.config.num_slots / in_use.ep_size;
    if (slots_per_rank <= kFewSlotsPerRank)
        verdict.warnings.push_back(
            name + ": " + std::to_string(slots_per_rank) +
            " slots per device; vllm-ascend advises against balancing decode with " +
            std::to_string(kFewSlotsPerRank) + " experts or fewer per die");
}

}  // namespace

constinit const Engine vllm_ascend_engine = {
    .name = "vllm-ascend",
    .title = "vllm-ascend",
    .default_placement = in_order_placement,
    .replica_choice = ReplicaChoice::equal_shares,
    .layer_numbering = LayerNumbering::moe_position,
    .config_format = ConfigFormat::vllm_ascend,
    .load_with = R"(--additional-config '{"eplb_config": {"expert_map_path": "map.json"}}')",
    .judge = judge_for_vllm_ascend,
};

}  // namespace eplb
