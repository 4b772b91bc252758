#include "lib/formats/statistics/recording.h"

#include <algorithm>
#include <utility>

#include "lib/placement/route/rank_load.h"
#include "lib/statistics/recording_checks.h"

namespace eplb {
namespace {

SourceOptions source_options(const RecordingOptions& options) {
    SourceOptions source;
    source.format = options.format;
    source.layers = options.layers;
    source.num_experts = options.num_experts;
    if (options.model) {
        source.model_moe_layers = options.model->shape.moe_layers;
        source.model_num_experts = options.model->shape.num_experts;
    }
    return source;
}

// are_slots: the number of ids is that of a config in force.
void check_model(const ExpertStatistics& statistics,
                 const RecordedModel& model,
                 bool are_slots,
                 const std::string& path) {
    const std::string another = "; give the config.json of the model that was recorded";
    if (!are_slots && statistics.ids != IdKind::slot &&
        statistics.num_experts != model.shape.num_experts) {
        const std::string text = path + ": has " + std::to_string(statistics.num_experts) +
                                 " experts, " + model.name + " " +
                                 std::to_string(model.shape.num_experts) + another;
        if (statistics.ids == IdKind::unstated && statistics.num_experts > model.shape.num_experts)
            throw RecordingMismatch(RecordingMismatch::Cause::perhaps_slots, text);
        throw Error(text);
    }
    for (const int layer : statistics.layers)
        if (layer < model.shape.num_hidden_layers &&
            !std::ranges::binary_search(model.shape.moe_layers, layer))
            throw Error(path + ": has layer " + std::to_string(layer) +
                        ", which has no experts in " + model.name + another);
}

RecordedUnder recorded_under(const ExpertStatistics& slots, const EplbConfig& config) {
    RecordedUnder under;
    under.config = config;
    for (int layer = 0; layer < slots.num_layers(); ++layer)
        under.slot_load.push_back(recorded_load(slots, layer));
    return under;
}

}  // namespace

RecordingReading read_recording(const std::string& path,
                                const RecordingOptions& options,
                                const std::function<void(const std::string&)>& warn,
                                ThreadPool& threads,
                                RowSink* rows) {
    const std::optional<ConfigInForce>& in_force = options.in_force;
    std::optional<FoldedRows> folded_rows;
    if (in_force && rows != nullptr)
        rows = &folded_rows.emplace(*in_force, *rows);
    SourceReading reading =
        read_source(path, source_options(options), options.selection, threads, rows);
    ExpertStatistics& statistics = reading.statistics;
    if (std::ranges::all_of(statistics.counts, [](std::int64_t count) { return count == 0; }))
        throw Error(path + ": holds no tokens");
    if (in_force && statistics.ids == IdKind::expert && !in_force->may_be_of_others)
        throw RecordingMismatch(RecordingMismatch::Cause::experts_already,
                                path + ": holds counts of experts already");
    if (options.model)
        check_model(statistics, *options.model, in_force.has_value(), path);
    for (const std::string& warning : reading.warnings)
        warn(path + ": " + warning);
    for (const std::string& warning : recording_warnings(statistics))
        warn(path + ": " + warning);
    const std::optional<SlotFold> fold = in_force ? slot_fold(statistics, *in_force) : std::nullopt;
    if (!fold)
        return {std::move(statistics), std::nullopt};
    return {fold->fold(statistics), recorded_under(statistics, in_force->config)};
}

}  // namespace eplb
