#ifndef EPLB_ENGINES_ENGINE_H
#define EPLB_ENGINES_ENGINE_H

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/replica_choice.h"

namespace eplb {

// The files that configs come in. lib/formats/configs reads and writes them, one file a format.
enum class ConfigFormat {
    trtllm,       // TensorRT-LLM's yaml
    sglang,       // SGLang's --init-expert-location
    vllm_ascend,  // vllm-ascend's expert map
    hygon,        // the expert map of HYGON's vLLM plugin; models by key
    plain,        // ours, which no engine loads: all that the others hold, and how it came about
};

// Which layer of the model an entry of a config is.
enum class LayerNumbering {
    layer_id,       // the one whose id it gives
    moe_position,   // MoE layers of the main model, in order
    decoder_layer,  // all decoder layers of the main model, in order, those without experts too
};

// A config that an engine is to load, with the model and the ranks that it runs.
struct ConfigInUse {
    std::string_view name;  // for messages
    const EplbConfig& config;
    int ep_size = 0;  // 0: not known
    // of the model; those of multi-token prediction are numbered from num_hidden_layers on
    std::span<const int> moe_layers;
    int num_hidden_layers = 0;
    int num_mtp_layers = 0;
};

// What an engine says of it on loading, by its own documented rules.
struct ConfigVerdict {
    std::vector<std::string> errors;    // it would not load, or crash, or lose tokens
    std::vector<std::string> warnings;  // it loads and works worse, or not in every mode
};

// All that depends on the engine.
struct Engine {
    const char* name;   // in options: "vllm-ascend"
    const char* title;  // in sentences: "SGLang"

    // Where experts are when no config says: [ep_size][slots_per_rank]. Error: they have no room.
    DefaultPlacement* default_placement;

    ReplicaChoice replica_choice;

    LayerNumbering layer_numbering;

    std::optional<ConfigFormat> config_format;  // none: it loads no config
    const char* load_with = "";                 // how to have a config loaded; what to paste
    const char* config_suffix = "";             // that a config's name must end in
    bool has_model_key = false;                 // a config may hold several models, by key
    // All that judge() looks at is what the model has, and the deployment in whole.
    bool needs_model_to_judge = false;

    // Adds what the engine says of a config that was read without an Error. Null where it loads
    // none.
    void (*judge)(const ConfigInUse& in_use, ConfigVerdict& verdict) = nullptr;
};

// One file each.
extern const Engine trtllm_engine;
extern const Engine sglang_engine;
extern const Engine vllm_engine;
extern const Engine vllm_ascend_engine;
extern const Engine hygon_engine;

std::span<const Engine* const> engines();

// Those that load configs.
std::vector<const Engine*> loading_engines();

// The engine where nothing says which: TensorRT-LLM.
const Engine& default_engine();

// Null: no engine loads the format.
const Engine* engine_of(ConfigFormat format);

// layer_id of a format that no engine loads.
LayerNumbering layer_numbering(ConfigFormat format);

}  // namespace eplb

#endif
