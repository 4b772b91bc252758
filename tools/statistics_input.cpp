#include "tools/statistics_input.h"

#include <optional>

#include "lib/base/error.h"
#include "lib/model/model_shape.h"
#include "tools/paths.h"

namespace eplb::cli {
namespace {

const char* remedy(RecordingMismatch::Cause cause) {
    switch (cause) {
        case RecordingMismatch::Cause::is_config:
            return "; eplb-report takes it with --projection_eplb_config_path, once for each";
        case RecordingMismatch::Cause::experts_already:
            return "; leave --load_balancer out";
        case RecordingMismatch::Cause::perhaps_slots:
            return ", or --load_balancer where these are slots of a run with EPLB";
    }
    return "";
}

}  // namespace

ConfigContext config_context(const StatisticsOptions& options) {
    ConfigContext context;
    if (options.model_config.is_given())
        context = context_of(options.model_config.shape(), 0);
    if (options.num_experts > 0)
        context.num_experts = options.num_experts;
    if (!options.layers.moe_layers.empty())
        context.moe_layers = options.layers.moe_layers;
    context.first_moe_layer = options.layers.first_moe_layer;
    context.model_key = options.model_key;
    return context;
}

EngineConfig read_engine_config(const Output& out,
                                const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context) {
    EngineConfig config = read_engine_config(path, options, context);
    for (const std::string& warning : config.warnings)
        out.warn(warning);
    return config;
}

EngineConfig read_engine_config(const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context) {
    const std::string text = read_input(path);
    const std::string name = name_of_input(path);
    std::optional<ConfigFormat> format = options.config_format;
    if (format)
        if (const std::optional<ConfigFormat> told = told_format(text, name, context))
            format = told;
    return parse_config(text, name, context, format);
}

RecordingReading load_statistics(const Output& out,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 RowSink* rows) {
    if (path.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a file, or -");
    RecordingOptions recording = {.format = options.input_format,
                                  .layers = options.layers,
                                  .num_experts = options.num_experts,
                                  .selection = {.iter_start = options.iter_start,
                                                .iter_stop = options.iter_stop,
                                                .sum_sources = sources == Sources::summed}};
    if (!options.load_balancer.empty())
        recording.in_force = {
            read_engine_config(out, options.load_balancer, options, config_context(options)).config,
            options.load_balancer, options.may_hold_experts};
    if (options.model_config.is_given())
        recording.model = {options.model_config.path, options.model_config.shape()};
    try {
        return read_recording(
            path, recording, [&](const std::string& warning) { out.warn(warning); }, threads, rows);
    } catch (const RecordingMismatch& mismatch) {
        throw Error(std::string(mismatch.what()) + remedy(mismatch.cause));
    }
}

}  // namespace eplb::cli
