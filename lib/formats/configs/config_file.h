#ifndef EPLB_FORMATS_CONFIGS_CONFIG_FILE_H
#define EPLB_FORMATS_CONFIGS_CONFIG_FILE_H

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/not_known.h"
#include "lib/engines/engine.h"
#include "lib/model/model_shape.h"
#include "lib/placement/placement.h"

// EPLB configs as the engines load them. docs/configs.md describes the formats and names their
// sources; data/config.schema.json describes plain.
namespace eplb {

// "trtllm", "sglang", "vllm-ascend", "hygon", "plain", in the order of the enum.
std::vector<std::string> config_format_names();
std::string config_format_name(ConfigFormat format);
// Error: no such name; the text lists those that exist.
ConfigFormat config_format_of(const std::string& name);

// What a file does not say by itself.
struct ConfigContext {
    int num_experts = 0;          // 0: not known; reading takes the highest id + 1 then
    int ep_size = 0;              // 0: not known
    int num_hidden_layers = 0;    // of the model, for SGLang's rows; 0: not known
    std::vector<int> moe_layers;  // ids of the MoE layers, ascending; empty: not known
    std::string model_key;        // hygon: the key below model_maps; empty: not known
    // All layers from this one on are MoE layers: a config then says how many there are.
    std::optional<int> first_moe_layer = {};  // where moe_layers are not known
};
ConfigContext context_of(const ModelShape& model, int ep_size);

// Imbalance ratios (fullest rank's load / mean rank load - 1; best 0, worst ep_size - 1), each a
// mean over iterations but where it says otherwise. NaN is not known, and left out of files.
struct ConfigMetrics {
    double aggregated = kNotKnown;        // of the counts summed over iterations
    double bound = kNotKnown;             // what no placement of the summed counts is below
    double noise_floor = kNotKnown;       // what sampling noise alone leaves, nearly
    double fitted = kNotKnown;            // on the iterations that it was fitted to
    double predicted = kNotKnown;         // on iterations, or workloads, not fitted to
    double predicted_greedy = kNotKnown;  // the same for TensorRT-LLM's greedy
};

// What plain tells of a layer beyond its placement.
struct ConfigLayerNote {
    std::string algorithm;  // empty: not known
    ConfigMetrics metrics;
};

// How a config came about; empty members are left out of files.
struct ConfigProvenance {
    std::vector<std::string> inputs;  // the statistics it was made from
    std::vector<std::string> flags;   // of the command line, one word each
    std::string version;              // of the tool
};

// A config and all that one of its formats can hold besides.
struct EngineConfig {
    EplbConfig config;
    int num_experts = 0;        // reading sets it unless nothing tells it (an online config): 0
    int ep_size = 0;            // 0: neither the file nor the context tells
    int num_hidden_layers = 0;  // decoder layers that an SGLang map has rows for; else 0

    // The file numbers layers by position, so that they are all MoE layers of the main model.
    bool has_all_moe_layers = false;

    // hygon's: the key it was under (or is to be written under) and the class it names; may be
    // empty
    std::string model_key;
    std::string model_class;

    // plain's
    std::map<int, ConfigLayerNote> layer_notes;  // by layer id; layers without a note are left out
    ConfigMetrics metrics;                       // of all layers together: means
    ConfigProvenance provenance;

    // What reading found strange and yet could read; a sentence each, "FILE: …". Not written.
    std::vector<std::string> warnings;
};

// The format of a text, from its content. SGLang's and hygon's older files look alike: the number
// of rows and the context decide (a row for each decoder layer or for each MoE layer), else Error.
ConfigFormat recognize_config(std::string_view text,
                              const std::string& name,
                              const ConfigContext& context);

// The same where the content leaves no doubt; else, or where it is of no format, nothing.
std::optional<ConfigFormat> told_format(std::string_view text,
                                        const std::string& name,
                                        const ConfigContext& context);

// Reads text. `name` is what messages call it; without a format it is recognised. Every layer of
// what comes back has num_slots ids inside [0, num_experts), every expert is among them, and
// num_slots is a multiple of ep_size where that is known; what is against that is an Error, and so
// are duplicate keys and numbers that are no integers. Where layers are numbered by position,
// context.moe_layers must be there: an Error says so.
EngineConfig parse_config(std::string_view text,
                          const std::string& name,
                          const ConfigContext& context = {},
                          std::optional<ConfigFormat> format = std::nullopt);

EngineConfig read_config(const std::string& path,
                         const ConfigContext& context = {},
                         std::optional<ConfigFormat> format = std::nullopt);

// The text of a file, which parse_config() reads as the same config (in as far as the format can
// say it). num_experts and ep_size may come from the config or the context, and must agree where
// both know them; the context's model key goes before the config's. Error:
//   the format cannot say it: sglang, vllm_ascend and hygon hold no config without assignments and
//     no layer_updates_per_iter above 0
//   not known is num_hidden_layers (sglang), ep_size (vllm_ascend, plain) or the model key (hygon)
//   the layers are not those of context.moe_layers, where that is given, in a format that has no
//     layer ids
//   the config itself is broken (see parse_config)
// A replica on the rank of another of the same expert is written: check_config() judges it.
std::string format_config(const EngineConfig& config,
                          ConfigFormat format,
                          const ConfigContext& context = {});

// Checks a text for an engine, a model and a number of ranks. What parse_config() refuses is an
// error here too, and then the only one; this function throws for no text. ep_size: 0 is not known;
// what depends on it is then not checked. model_key: which of hygon's model_maps, where there are
// several.
ConfigVerdict check_config(std::string_view text,
                           const std::string& name,
                           const Engine& engine,
                           const ModelShape& model,
                           int ep_size,
                           const std::string& model_key = "");

}  // namespace eplb

#endif
