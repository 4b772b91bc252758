// SGLang. Source of the rules: sgl-project/sglang, expert_location.py (ExpertLocationMetadata).
#include "lib/engines/config_rules.h"
#include "lib/engines/default_placement.h"
#include "lib/engines/engine.h"

namespace eplb {
namespace {

void judge_for_sglang(const ConfigInUse& in_use, ConfigVerdict& verdict) {
    if (const std::string duplicates = duplicates_text(in_use.config, in_use.ep_size);
        !duplicates.empty())
        verdict.warnings.push_back(std::string(in_use.name) + ": " + duplicates +
                                   ", which takes memory and spreads no load");
}

}  // namespace

constinit const Engine sglang_engine = {
    .name = "sglang",
    .title = "SGLang",
    .default_placement = in_order_placement,
    .replica_choice = ReplicaChoice::round_robin,
    .layer_numbering = LayerNumbering::decoder_layer,
    .config_format = ConfigFormat::sglang,
    .load_with = "--init-expert-location map.json --ep-num-redundant-experts 32",
    .config_suffix = ".json",
    .judge = judge_for_sglang,
};

}  // namespace eplb
