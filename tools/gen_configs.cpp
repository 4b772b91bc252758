#include "tools/gen_configs.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/report/views/plan_table.h"
#include "tools/gen_options.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"
#include "tools/tool.h"
#include "tools/version.h"

namespace eplb {
namespace {

// Why the engine does not load a file of that name; empty where nothing is against it.
std::string name_fault(const Engine& engine, const std::string& name) {
    if (name.ends_with(engine.config_suffix))
        return "";
    return name + ": " + engine.title + " takes a map only from a file whose name ends in " +
           engine.config_suffix + "; rename it";
}

// What is known of the model, where there is no config.json: that it is what the config is for.
ModelShape shape_of(const EngineConfig& config, const ConfigContext& context) {
    ModelShape model;
    model.num_experts = config.num_experts > 0 ? config.num_experts : context.num_experts;
    for (const auto& [layer, assignment] : config.config.initial_global_assignments)
        model.moe_layers.push_back(layer);
    if (!context.moe_layers.empty())
        model.moe_layers = context.moe_layers;
    model.num_hidden_layers = std::max(context.num_hidden_layers,
                                       model.moe_layers.empty() ? 0 : model.moe_layers.back() + 1);
    model.top_k = 1;  // no rule of a config looks at it
    return model;
}

void warn_of_all(const cli::Output& out, const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings)
        out.warn(warning);
}

ConfigMetrics metrics_of(const LayerPlan& layer) {
    return {.aggregated = layer.aggregated,
            .bound = layer.bound,
            .noise_floor = layer.noise_floor,
            .fitted = layer.fitted,
            .predicted = layer.predicted,
            .predicted_greedy = layer.predicted_greedy};
}

// Formats of the main model's layers, without ids.
bool is_by_position(ConfigFormat format) {
    return layer_numbering(format) != LayerNumbering::layer_id;
}

// "trtllm, sglang or hygon"
std::string loading_engines_text() {
    const std::vector<const Engine*> loading = loading_engines();
    std::string text;
    for (const Engine* const engine : loading)
        text += (text.empty()               ? ""
                 : engine == loading.back() ? " or "
                                            : ", ") +
                std::string(engine->name);
    return text;
}

// The options that were given, but for some.
std::vector<std::string> given_options(const GenOptions& options,
                                       const std::vector<std::string>& allowed) {
    std::vector<std::string> given;
    for (const cli::GivenOption& option : options.given)
        if (std::find(allowed.begin(), allowed.end(), option.name) == allowed.end())
            given.push_back("--" + option.name);
    return given;
}

// Whose config it is, if that is another engine's.
std::optional<ConfigFormat> other_engine(const std::string& text,
                                         const std::string& name,
                                         const Engine& engine,
                                         const ConfigContext& context) {
    try {
        const ConfigFormat format = recognize_config(text, name, context);
        if (format == engine.config_format)
            return std::nullopt;
        parse_config(text, name, context, format);
        return format;
    } catch (const Error&) {  // then it is nobody else's
        return std::nullopt;
    }
}

// What depends on how the engine is started: the file's name, and --num_slots.
void check_flags(const GenOptions& options,
                 const std::string& text,
                 const std::string& name,
                 ConfigContext context,
                 ConfigVerdict& verdict) {
    const Engine& engine = *options.configs.engine;
    context.model_key = options.statistics.model_key;
    const EngineConfig config = parse_config(text, name, context, engine.config_format);
    if (!options.num_slots.empty() && options.num_slots.front() != config.config.num_slots)
        verdict.errors.push_back(name + ": has " + std::to_string(config.config.num_slots) +
                                 " slots, not " + std::to_string(options.num_slots.front()) +
                                 " as the engine is started with");
    const std::string fault = name_fault(engine, name);
    if (name != "standard input" && !fault.empty())
        verdict.errors.push_back(fault);
    if (config.ep_size == 0)
        verdict.warnings.push_back(name +
                                   ": does not say for how many ranks it is; give --ep_size to "
                                   "have checked that they divide num_slots and hold no expert "
                                   "twice");
}

void refuse_what_does_not_load(const std::string& engine, const ConfigVerdict& verdict) {
    if (verdict.errors.empty())
        return;
    const std::size_t num_more = verdict.errors.size() - 1;
    throw Error(verdict.errors.front() +
                (num_more > 0 ? " (and " + std::to_string(num_more) + " more)" : "") + ": " +
                engine + " would not load it");
}

}  // namespace

ConfigContext config_context(const GenOptions& options) {
    ConfigContext context = cli::config_context(options.statistics);
    context.ep_size = options.one_ep_size();
    if (options.configs.num_hidden_layers > 0)
        context.num_hidden_layers = options.configs.num_hidden_layers;
    if (options.statistics.layers.first_moe_layer && context.num_hidden_layers > 0) {
        context.moe_layers.clear();
        for (int layer = *options.statistics.layers.first_moe_layer;
             layer < context.num_hidden_layers; ++layer)
            context.moe_layers.push_back(layer);
    }
    return context;
}

std::vector<int> mtp_layers(const GenOptions& options, const ConfigContext& context) {
    std::vector<int> layers;
    if (!is_by_position(options.configs.output_format) || context.num_hidden_layers == 0)
        return layers;
    const cli::ModelOption& model_config = options.statistics.model_config;
    const int count = model_config.is_given() ? model_config.shape().num_mtp_layers : 1;
    for (int i = 0; i < count; ++i)
        layers.push_back(context.num_hidden_layers + i);
    return layers;
}

void note_left_out(const cli::Output& out, int layer) {
    out.note("layer " + std::to_string(layer) +
             " is left out: it is one of multi-token prediction, and the config is the "
             "main model's");
}

void require_model_layers(const GenOptions& options, const ConfigContext& context) {
    const ConfigFormat format = options.configs.output_format;
    if (is_by_position(format) && context.moe_layers.empty())
        throw UsageError("configs of " + config_format_name(format) +
                         " have no layer ids; give all layers with experts that the model has: "
                         "--model_config, --moe_layers, or --first_moe_layer with "
                         "--num_hidden_layers");
    if (layer_numbering(format) == LayerNumbering::decoder_layer && context.num_hidden_layers == 0)
        throw UsageError(std::string(engine_of(format)->title) +
                         "'s maps have a row for each decoder layer; give --model_config or "
                         "--num_hidden_layers");
}

EngineConfig described_config(const GenOptions& options, EplbConfig config) {
    EngineConfig described;
    described.config = std::move(config);
    described.ep_size = options.one_ep_size();
    described.provenance = {options.expert_statistic_paths, options.command_line,
                            "eplb-gen " EPLB_VERSION};
    return described;
}

EngineConfig described_config(const GenOptions& options,
                              const PlanRequest& request,
                              const Plan& plan,
                              const ExpertStatistics& statistics,
                              EplbConfig config) {
    EngineConfig described = described_config(options, std::move(config));
    described.num_experts = statistics.num_experts;
    described.ep_size = request.ep_size;
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
        const LayerPlan& layer = plan.layers[i];
        const Algorithm algorithm =
            request.algorithm == Algorithm::automatic ? layer.algorithm : request.algorithm;
        described.layer_notes[statistics.layers[i]] = {algorithm_name(algorithm),
                                                       metrics_of(layer)};
    }
    described.metrics = {.aggregated = mean_over_layers(plan, &LayerPlan::aggregated),
                         .bound = mean_over_layers(plan, &LayerPlan::bound),
                         .noise_floor = mean_over_layers(plan, &LayerPlan::noise_floor),
                         .fitted = mean_over_layers(plan, &LayerPlan::fitted),
                         .predicted = mean_over_layers(plan, &LayerPlan::predicted),
                         .predicted_greedy = mean_over_layers(plan, &LayerPlan::predicted_greedy)};
    return described;
}

std::string engine_text(const cli::Output& out,
                        const GenOptions& options,
                        EngineConfig config,
                        ConfigContext context) {
    const ConfigFormat format = options.configs.output_format;
    if (!config.config.initial_global_assignments.empty()) {
        require_model_layers(options, context);
        for (const int layer : mtp_layers(options, context)) {
            if (config.config.initial_global_assignments.erase(layer) > 0)
                note_left_out(out, layer);
            std::erase(context.moe_layers, layer);
        }
    }
    const std::string name = options.output_path == "-" ? "standard output" : options.output_path;
    std::string text = format_config(config, format, context);
    if (context.moe_layers.empty())
        for (const auto& [layer, assignment] : config.config.initial_global_assignments)
            context.moe_layers.push_back(layer);
    if (parse_config(text, name, context, format).config != config.config)
        throw std::logic_error(name + ": does not say what it was written for");
    const bool has_model = options.statistics.model_config.is_given();
    const int ep_size = config.ep_size > 0 ? config.ep_size : context.ep_size;
    const Engine* const engine = engine_of(format);
    if (engine == nullptr || (engine->needs_model_to_judge && !has_model))
        return text;
    ConfigVerdict verdict = check_config(
        text, name, *engine,
        has_model ? options.statistics.model_config.shape() : shape_of(config, context), ep_size,
        context.model_key);
    refuse_what_does_not_load(engine->name, verdict);
    const std::string fault = name_fault(*engine, name);
    if (options.output_path != "-" && !fault.empty())
        verdict.warnings.push_back(fault);
    warn_of_all(out, verdict.warnings);
    return text;
}

void check_config_options(const GenOptions& options) {
    const GenConfigOptions& configs = options.configs;
    const bool converts = !configs.convert_path.empty();
    const bool validates = !configs.validate_path.empty();
    if (converts && validates)
        throw UsageError("--convert and --validate are two runs");
    if (configs.engine && !validates)
        throw UsageError("--for goes with --validate");
    const Engine* const written_for = engine_of(configs.output_format);
    if (written_for != nullptr && written_for->has_model_key && !converts &&
        options.current.empty() && options.statistics.model_key.empty())
        throw UsageError(std::string(written_for->name) +
                         "'s configs keep each model under a key: give --model_key, as a map that "
                         "the plugin recorded has it");
    if (!converts && !validates)
        return;
    const std::string action = converts ? "convert" : "validate";
    const std::vector<std::string> others =
        converts ? given_options(options,
                                 {"convert", "output_path", "output_format", "config_format",
                                  "model_config", "first_moe_layer", "moe_layers", "num_experts",
                                  "num_hidden_layers", "model_key", "ep_size", "threads"})
                 : given_options(options, {"validate", "for", "model_config", "model_key",
                                           "ep_size", "num_slots", "threads"});
    if (!others.empty())
        throw UsageError("--" + action + " looks at a config alone; leave out " + others.front());
    if (converts)
        return;
    if (!configs.engine)
        throw UsageError("--validate needs the engine: --for " + loading_engines_text());
    if (!options.statistics.model_config.is_given())
        throw UsageError("--validate needs the model: give its config.json with --model_config");
    if (!options.output_path.empty())
        throw UsageError("--validate writes nothing but its verdict; leave --output_path out");
}

int convert_config(const cli::Output& out, const GenOptions& options) {
    cli::check_output(options.output_path,
                      {options.configs.convert_path, options.statistics.model_config.path});
    OutputFile output(options.output_path);
    ConfigContext context = config_context(options);
    const EngineConfig config =
        cli::read_engine_config(out, options.configs.convert_path, options.statistics, context);
    if (context.moe_layers.empty() && config.has_all_moe_layers)
        for (const auto& [layer, assignment] : config.config.initial_global_assignments)
            context.moe_layers.push_back(layer);
    if (context.num_hidden_layers == 0)
        context.num_hidden_layers = config.num_hidden_layers;
    output.write(engine_text(out, options, config, context));
    output.commit();
    return cli::kDone;
}

int validate_config(const GenOptions& options) {
    const std::string& path = options.configs.validate_path;
    const std::string name = cli::name_of_input(path);
    const Engine& engine = *options.configs.engine;
    const ModelShape model = options.statistics.model_config.shape();
    const std::string text = cli::read_input(path);
    const int ep_size = options.one_ep_size();
    ConfigVerdict verdict =
        check_config(text, name, engine, model, ep_size, options.statistics.model_key);
    const ConfigContext context = context_of(model, ep_size);
    const std::optional<ConfigFormat> other =
        verdict.errors.empty() ? std::nullopt : other_engine(text, name, engine, context);
    if (other)
        verdict = {{name + ": is a config for " + config_format_name(*other) +
                    "; turn it into one for " + engine.name + " with --convert"},
                   {}};
    if (verdict.errors.empty())
        check_flags(options, text, name, context, verdict);
    OutputFile output("-");
    output.write(name + ": " + engine.name +
                 (verdict.errors.empty() ? " loads it\n" : " would not load it\n"));
    for (const std::string& error : verdict.errors)
        output.write("error: " + error + "\n");
    for (const std::string& warning : verdict.warnings)
        output.write("warning: " + warning + "\n");
    output.commit();
    return verdict.errors.empty() ? cli::kDone : cli::kGateFailed;
}

}  // namespace eplb
