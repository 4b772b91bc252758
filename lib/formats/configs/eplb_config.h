#ifndef EPLB_FORMATS_CONFIGS_EPLB_CONFIG_H
#define EPLB_FORMATS_CONFIGS_EPLB_CONFIG_H

#include <string>

#include "lib/placement/placement.h"

// The yaml that TensorRT-LLM loads as moe_config.load_balancer. Source of the rules: NVIDIA/
// TensorRT-LLM, moe_load_balancer.py (MoeLoadBalancerConfig) and generate_eplb_config.py.
namespace eplb {

// What the reader may check beyond the file itself; 0: unknown.
struct EplbConfigExpectation {
    int num_experts = 0;
    int ep_size = 0;
};

// Reads text. `name` is what messages call it; they give the line. Refused: keys other than the
// three, a key twice, wrong types, num_slots below 1 or no multiple of ep_size, lists whose length
// is not num_slots, ids outside [0, num_experts), experts without a slot, num_slots < num_experts.
// Where num_experts is unknown it is taken as the highest id + 1 over all layers.
EplbConfig parse_eplb_config(const std::string& text,
                             const std::string& name,
                             const EplbConfigExpectation& expectation = {});

EplbConfig read_eplb_config(const std::string& path, const EplbConfigExpectation& expectation = {});

// The text that PyYAML gives upstream: keys sorted, block style, each layer one inline list.
// initial_global_assignments is left out when it is empty.
std::string format_eplb_config(const EplbConfig& config);

// TensorRT-LLM's own options file (--extra_llm_api_options), of which only moe_config matters:
// max_num_tokens and load_balancer, a path (relative to the working directory) or an inline
// mapping. Everything else in the file is ignored.
struct MoeOptions {
    int max_num_tokens = 0;  // 0: not given
    bool has_load_balancer = false;
    EplbConfig load_balancer;
};
MoeOptions read_moe_options(const std::string& path, const EplbConfigExpectation& expectation = {});

}  // namespace eplb

#endif
