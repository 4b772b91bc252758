#ifndef EPLB_TOOLS_GEN_CONFIGS_H
#define EPLB_TOOLS_GEN_CONFIGS_H

#include <string>
#include <vector>

#include "lib/formats/configs/config_file.h"
#include "lib/placement/plan/planner.h"
#include "tools/output.h"

// Configs of all engines, as eplb-gen writes, converts and validates them.
namespace eplb {

struct GenOptions;

// Options that are about configs as files.
struct GenConfigOptions {
    ConfigFormat output_format = ConfigFormat::trtllm;
    std::string convert_path;        // empty: not asked for
    std::string validate_path;       // likewise
    const Engine* engine = nullptr;  // that is to load it; null: not given
    int num_hidden_layers = 0;       // 0: not given
};

// What the options say of the model and the deployment.
ConfigContext config_context(const GenOptions& options);

// Layers of multi-token prediction, behind those of the main model, which configs that number
// layers by position leave out: those of --model_config, else one. None where --output_format has
// layer ids or nothing says where they begin.
std::vector<int> mtp_layers(const GenOptions& options, const ConfigContext& context);
void note_left_out(const cli::Output& out, int layer);

// Error where --output_format numbers layers by position and nothing says which layers the model
// has: one that is missing would shift all that follow it.
void require_model_layers(const GenOptions& options, const ConfigContext& context);

// A config with how it came about.
EngineConfig described_config(const GenOptions& options, EplbConfig config);
// The same with what a plan, made from `statistics`, says of itself.
EngineConfig described_config(const GenOptions& options,
                              const PlanRequest& request,
                              const Plan& plan,
                              const ExpertStatistics& statistics,
                              EplbConfig config);

// The config in --output_format, as the engine will read it: Error where by its own rules it would
// not load it, a warning for what it would load and work worse with.
std::string engine_text(const cli::Output& out,
                        const GenOptions& options,
                        EngineConfig config,
                        ConfigContext context);

// UsageError for options of configs that do not go together, or with others.
void check_config_options(const GenOptions& options);

// --convert and --validate; give the exit code.
int convert_config(const cli::Output& out, const GenOptions& options);
int validate_config(const GenOptions& options);

}  // namespace eplb

#endif
