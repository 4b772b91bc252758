#include "tools/gen_configs.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/report/plan_table.h"
#include "tools/gen_options.h"
#include "tools/version.h"

namespace eplb {
namespace {

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

void warn_of_all(const CLI::App& app, const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings)
        cli::warn(app, warning);
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
    return format == ConfigFormat::sglang || format == ConfigFormat::vllm_ascend ||
           format == ConfigFormat::hygon;
}

// A layer that the statistics lack would shift all that follow it.
void require_moe_layers(ConfigFormat format, const ConfigContext& context) {
    if (context.moe_layers.empty())
        throw UsageError("configs of " + config_format_name(format) +
                         " have no layer ids; give all layers with experts that the model has, "
                         "with --model_config or --moe_layers");
}

// Layers of multi-token prediction are numbered behind the main model's.
void leave_out_mtp_layers(const CLI::App& app, const ConfigContext& context, EplbConfig& config) {
    if (context.num_hidden_layers == 0)
        return;
    auto& layers = config.initial_global_assignments;
    for (auto layer = layers.lower_bound(context.num_hidden_layers); layer != layers.end();
         layer = layers.erase(layer))
        cli::note(app, "layer " + std::to_string(layer->first) +
                           " is left out: it is one of multi-token prediction, and the config is "
                           "the main model's");
}

// The options that were given, but for some.
std::vector<std::string> given_options(const CLI::App& app,
                                       const std::vector<std::string>& allowed) {
    std::vector<std::string> given;
    for (const CLI::Option* const option : app.get_options()) {
        const std::string name =
            option->get_lnames().empty() ? option->get_name() : option->get_lnames().front();
        if (option->count() > 0 && std::find(allowed.begin(), allowed.end(), name) == allowed.end())
            given.push_back(option->get_lnames().empty() ? name : "--" + name);
    }
    return given;
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

void add_config_output_options(CLI::App& app, GenConfigOptions& options) {
    cli::add_choice(app, cli::flag("output_format"), options.output_format,
                    cli::config_format_choices(),
                    "Whose config is written; plain is JSON with all that is known");
    app.add_option(cli::flag("num_hidden_layers"), options.num_hidden_layers,
                   "Decoder layers of the model, those without experts too: SGLang's maps have a "
                   "row for each")
        ->type_name("N")
        ->default_str("those of --model_config or the statistics")
        ->check(cli::positive());
}

void add_config_input_options(CLI::App& app, GenConfigOptions& options) {
    app.add_option("--convert", options.convert_path,
                   "Write this config in --output_format, whichever engine it was for")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.add_option("--validate", options.validate_path,
                   "Say whether the engine named by --for would load this config, and why not; "
                   "exit code 3 if not")
        ->type_name("FILE")
        ->check(cli::not_empty());
    auto engines = cli::config_format_choices();
    engines.pop_back();  // plain, which no engine loads
    cli::add_choice(app, "--for", options.engine, engines, "The engine of --validate");
}

ConfigContext config_context(const GenOptions& options) {
    ConfigContext context = cli::config_context(options.statistics);
    if (!options.ep_sizes.empty())
        context.ep_size = options.ep_sizes.front();
    if (options.configs.num_hidden_layers > 0)
        context.num_hidden_layers = options.configs.num_hidden_layers;
    if (options.statistics.first_moe_layer && context.num_hidden_layers > 0) {
        context.moe_layers.clear();
        for (int layer = *options.statistics.first_moe_layer; layer < context.num_hidden_layers;
             ++layer)
            context.moe_layers.push_back(layer);
    }
    return context;
}

EngineConfig described_config(const GenOptions& options, EplbConfig config) {
    EngineConfig described;
    described.config = std::move(config);
    described.ep_size = options.ep_sizes.empty() ? 0 : options.ep_sizes.front();
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

std::string engine_text(const CLI::App& app,
                        const GenOptions& options,
                        EngineConfig config,
                        ConfigContext context) {
    const ConfigFormat format = options.configs.output_format;
    if (is_by_position(format) && !config.config.initial_global_assignments.empty()) {
        require_moe_layers(format, context);
        leave_out_mtp_layers(app, context, config.config);
    }
    const std::string name = options.output_path == "-" ? "standard output" : options.output_path;
    std::string text = format_config(config, format, context);
    if (context.moe_layers.empty())
        for (const auto& [layer, assignment] : config.config.initial_global_assignments)
            context.moe_layers.push_back(layer);
    if (parse_config(text, name, context, format).config != config.config)
        throw std::logic_error(name + ": does not say what it was written for");
    const bool has_model = !options.statistics.model_config.empty();
    const int ep_size = config.ep_size > 0 ? config.ep_size : context.ep_size;
    // TensorRT-LLM's rules are about model and ranks, where the reader above has none left to check
    if (format == ConfigFormat::plain || ep_size == 0 ||
        (format == ConfigFormat::trtllm && !has_model))
        return text;
    const ConfigVerdict verdict = check_config(
        text, name, format,
        has_model ? read_model_shape(options.statistics.model_config) : shape_of(config, context),
        ep_size);
    refuse_what_does_not_load(config_format_name(format), verdict);
    warn_of_all(app, verdict.warnings);
    return text;
}

void check_config_options(const CLI::App& app, const GenOptions& options) {
    const GenConfigOptions& configs = options.configs;
    const bool converts = !configs.convert_path.empty();
    const bool validates = !configs.validate_path.empty();
    if (converts && validates)
        throw UsageError("--convert and --validate are two runs");
    if (configs.engine && !validates)
        throw UsageError("--for goes with --validate");
    if (!converts && !validates)
        return;
    const std::string action = converts ? "convert" : "validate";
    const std::vector<std::string> others =
        given_options(app, {action, "for", "output_path", "output_format", "config_format",
                            "model_config", "first_moe_layer", "moe_layers", "num_experts",
                            "num_hidden_layers", "model_key", "ep_size", "threads"});
    if (!others.empty())
        throw UsageError("--" + action + " is about a config that is there; leave out " +
                         others.front());
    if (converts)
        return;
    if (!configs.engine)
        throw UsageError("--validate needs the engine: --for trtllm, sglang, vllm-ascend or hygon");
    if (options.statistics.model_config.empty())
        throw UsageError("--validate needs the model: give its config.json with --model_config");
    if (!options.output_path.empty())
        throw UsageError("--validate writes nothing but its verdict; leave --output_path out");
}

int convert_config(const CLI::App& app, const GenOptions& options) {
    cli::check_output(options.output_path, {options.configs.convert_path});
    OutputFile output(options.output_path);
    const ConfigContext context = config_context(options);
    const EngineConfig config =
        cli::read_engine_config(app, options.configs.convert_path, options.statistics, context);
    output.write(engine_text(app, options, config, context));
    output.commit();
    return cli::kDone;
}

int validate_config(const GenOptions& options) {
    const std::string& path = options.configs.validate_path;
    const ModelShape model = read_model_shape(options.statistics.model_config);
    const std::string text = read_file(path);
    const ConfigVerdict verdict = check_config(
        text, path, *options.configs.engine, model,
        options.ep_sizes.empty() ? 0 : options.ep_sizes.front(), options.statistics.model_key);
    const std::string engine = config_format_name(*options.configs.engine);
    OutputFile output("-");
    output.write(path + ": " + engine +
                 (verdict.errors.empty() ? " loads it\n" : " would not load it\n"));
    for (const std::string& error : verdict.errors)
        output.write("error: " + error + "\n");
    for (const std::string& warning : verdict.warnings)
        output.write("warning: " + warning + "\n");
    output.commit();
    return verdict.errors.empty() ? cli::kDone : cli::kGateFailed;
}

}  // namespace eplb
