#include "tools/statistics_input.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/model/model_shape.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/route/slot_fold.h"
#include "lib/statistics/recording_checks.h"
#include "tools/paths.h"

namespace eplb::cli {
namespace {

// What a config's content says of its format; nothing where it does not tell.
std::optional<ConfigFormat> told_format(const std::string& text,
                                        const std::string& name,
                                        const ConfigContext& context) {
    try {
        return recognize_config(text, name, context);
    } catch (const Error&) {
        return std::nullopt;
    }
}

// are_slots: of a config in force, which the number of ids is then of.
void check_model(const ExpertStatistics& statistics,
                 const ModelShape& model,
                 bool are_slots,
                 const std::string& where,
                 const std::string& model_config) {
    const std::string another = "; give the config.json of the model that was recorded";
    if (!are_slots && statistics.ids != IdKind::slot && statistics.num_experts != model.num_experts)
        throw Error(
            where + "has " + std::to_string(statistics.num_experts) + " experts, " + model_config +
            " " + std::to_string(model.num_experts) + another +
            (statistics.ids == IdKind::unstated && statistics.num_experts > model.num_experts
                 ? ", or --load_balancer where these are slots of a run with EPLB"
                 : ""));
    for (const int layer : statistics.layers)
        if (layer < model.num_hidden_layers &&
            !std::binary_search(model.moe_layers.begin(), model.moe_layers.end(), layer))
            throw Error(where + "has layer " + std::to_string(layer) +
                        ", which has no experts in " + model_config + another);
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
    if (format) {
        const std::optional<ConfigFormat> told = told_format(text, name, context);
        if (told && *told != ConfigFormat::sglang && *told != ConfigFormat::hygon)
            format = told;
    }
    return parse_config(text, name, context, format);
}

ExpertStatistics load_statistics(const Output& out,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 std::optional<RecordedUnder>* under,
                                 RowSink* rows) {
    if (path.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a file, or -");
    std::optional<ConfigInForce> in_force;
    std::optional<FoldedRows> folded_rows;
    if (!options.load_balancer.empty())
        in_force = {
            read_engine_config(out, options.load_balancer, options, config_context(options)).config,
            options.load_balancer, options.may_hold_experts};
    if (in_force && rows != nullptr)
        rows = &folded_rows.emplace(*in_force, *rows);
    SourceOptions source;
    source.format = options.input_format;
    source.layers = options.layers;
    source.num_experts = options.num_experts;
    std::optional<ModelShape> model;
    if (options.model_config.is_given()) {
        model = options.model_config.shape();
        source.model_moe_layers = model->moe_layers;
        source.model_num_experts = model->num_experts;
    }
    SourceReading reading = read_source(path, source,
                                        {.iter_start = options.iter_start,
                                         .iter_stop = options.iter_stop,
                                         .sum_sources = sources == Sources::summed},
                                        threads, rows);
    ExpertStatistics& statistics = reading.statistics;
    if (std::all_of(statistics.counts.begin(), statistics.counts.end(),
                    [](std::int64_t count) { return count == 0; }))
        throw Error(path + ": holds no tokens");
    if (in_force && statistics.ids == IdKind::expert && !options.may_hold_experts)
        throw Error(path + ": holds counts of experts already; leave --load_balancer out");
    if (model)
        check_model(statistics, *model, in_force.has_value(), path + ": ",
                    options.model_config.path);
    for (const std::string& warning : reading.warnings)
        out.warn(path + ": " + warning);
    for (const std::string& warning : recording_warnings(statistics))
        out.warn(path + ": " + warning);
    const std::optional<SlotFold> fold = in_force ? slot_fold(statistics, *in_force) : std::nullopt;
    if (!fold)
        return std::move(statistics);
    if (under != nullptr) {
        RecordedUnder& recorded = under->emplace();
        recorded.config = in_force->config;
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            recorded.slot_load.push_back(recorded_load(statistics, layer));
    }
    return fold->fold(statistics);
}

}  // namespace eplb::cli
