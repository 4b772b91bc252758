#include "tools/report_inputs.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/formats/configs/config_file.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/placement/route/projection.h"
#include "lib/statistics/selection.h"
#include "tools/paths.h"
#include "tools/report_views.h"
#include "tools/statistics_input.h"

namespace eplb {
namespace {

// Ranks of slots that lie in order; 0 where neither --ep_size nor the recording's ranks divide
// them.
int dividing_ep_size(const ReportOptions& options, int recorded_ep_size, int num_slots) {
    for (const int ep_size : {options.ep_size, recorded_ep_size})
        if (ep_size > 0 && num_slots % ep_size == 0)
            return ep_size;
    return 0;
}

// Ranks to report on; an error where slots cannot be spread evenly over them.
int required_ep_size(const ReportOptions& options, int recorded_ep_size, int num_slots) {
    if (options.ep_size > 0) {
        if (num_slots % options.ep_size != 0)
            throw UsageError("--ep_size " + std::to_string(options.ep_size) + " does not divide " +
                             std::to_string(num_slots) +
                             " slots: each rank holds the same number of them" +
                             (options.config_paths.empty()
                                  ? "; --view held_out --num_slots shows what a placement there "
                                    "would bring, --projection_eplb_config_path what a config does"
                                  : ""));
        return options.ep_size;
    }
    if (num_slots % recorded_ep_size != 0)
        throw UsageError(std::to_string(num_slots) +
                         " slots (experts, where there is no config) cannot be spread evenly over "
                         "the " +
                         std::to_string(recorded_ep_size) +
                         " ranks of the recording; give --ep_size (if a rank file is missing, "
                         "copy it)");
    return recorded_ep_size;
}

// Each layer's; an Error that says what to do where one is missing.
std::vector<Placement> placements_of(const EplbConfig& config,
                                     const std::string& path,
                                     const std::vector<int>& layers,
                                     int ep_size) {
    if (config.initial_global_assignments.empty())
        throw Error(path +
                    ": has no initial_global_assignments, as one of online balancing: there is no "
                    "placement to project; give one that eplb-gen made from statistics");
    std::vector<Placement> placements;
    placements.reserve(layers.size());
    for (const int layer_id : layers) {
        const auto found = config.initial_global_assignments.find(layer_id);
        if (found == config.initial_global_assignments.end())
            throw Error(path + ": has no assignment for layer " + std::to_string(layer_id) +
                        "; leave the layer out with --layers, or add it with eplb-gen "
                        "--fill_layers");
        placements.push_back({ep_size, config.num_slots / ep_size, found->second});
    }
    return placements;
}

// Ranks of the recording, or what stands in for them where it does not say.
int source_ep_size(const ReportOptions& options,
                   const ExpertStatistics& recording,
                   const std::string& path) {
    if (!recording.has_unknown_sources)
        return recording.ep_size;
    if (options.ep_size == 0)
        throw UsageError(path + ": does not say on how many ranks it was recorded; give --ep_size");
    return options.ep_size;
}

// What a config may leave open: the recording is of the same model.
ConfigContext context_of_recording(const ReportOptions& options,
                                   const ExpertStatistics& recording) {
    ConfigContext context = cli::config_context(options.statistics);
    context.num_experts = recording.num_experts;
    if (context.num_hidden_layers == 0)
        context.num_hidden_layers = recording.num_hidden_layers;
    if (context.moe_layers.empty() && !context.first_moe_layer && recording.has_all_moe_layers)
        context.moe_layers = recording.layers;
    return context;
}

// The configs' placements on the layers asked for.
Projection::Placed place(const cli::Output& out,
                         const ReportOptions& options,
                         const std::string& path,
                         const ExpertStatistics& recording) {
    if (recording.ids == IdKind::slot)
        throw Error(path +
                    ": holds the slot ids of a run with EPLB; give the yaml that was in force "
                    "with --load_balancer to project them");
    ExpertStatistics shape = recording;
    shape.num_iterations = 0;
    if (!options.layers.empty())
        keep_layers(shape, options.layers, path);
    Projection::Placed placed;
    placed.layers = shape.layers;
    for (const std::string& config_path : options.config_paths) {
        const EngineConfig read = cli::read_engine_config(out, config_path, options.statistics,
                                                          context_of_recording(options, recording));
        const int num_slots = read.config.num_slots;
        int ep_size = options.ep_size == 0 ? read.ep_size : 0;
        if (ep_size == 0)
            ep_size =
                options.per_expert
                    ? std::max(dividing_ep_size(options, shape.ep_size, num_slots), 1)
                    : required_ep_size(options, source_ep_size(options, shape, path), num_slots);
        placed.placements.push_back(placements_of(read.config, config_path, shape.layers, ep_size));
    }
    return placed;
}

// Replays the routed ids beside the counts, where counts alone did not tell exactly which replica
// took each token. recording: all layers, summed over source ranks.
void replay_routed_ids(const cli::Output& out,
                       const ReportOptions& options,
                       const std::string& path,
                       const ExpertStatistics& recording,
                       Projection& projection,
                       ThreadPool& threads) {
    const bool is_folded = !options.statistics.load_balancer.empty();  // the ids are slots
    if (projection.is_exact() || is_folded || !cli::is_folder(path) || !has_trtllm_routed_ids(path))
        return;
    if (const auto incomplete = find_incomplete_routed_ids(path, recording)) {
        out.warn(*incomplete + "; the counts are used alone");
        return;
    }
    projection.restart_from_ids();
    try {
        visit_trtllm_routed_ids(
            path, recording, threads,
            [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
                projection.add_ids(iteration, layer, source, ids);
            });
    } catch (const Error& error) {
        throw Error(std::string(error.what()) + ", or give --equal_split, which needs none");
    }
}

// Of the recording as it ran; 0 where no number of ranks is needed, and none divides the experts.
int recorded_ep_size(const ReportOptions& options,
                     const ExpertStatistics& statistics,
                     const std::string& path,
                     const std::optional<RecordedUnder>& under) {
    const ReportView& view = view_of(options);
    const bool is_projected = !options.config_paths.empty();
    if (!under) {
        if (!is_projected && view.looks_at_ranks && !options.per_expert)
            return required_ep_size(options, source_ep_size(options, statistics, path),
                                    statistics.num_experts);
        return dividing_ep_size(options, statistics.has_unknown_sources ? 0 : statistics.ep_size,
                                statistics.num_experts);
    }
    // on the ranks that it ran on
    const int ep_size =
        required_ep_size({}, source_ep_size(options, statistics, path), under->config.num_slots);
    if (!is_projected && !view.tests_placement && options.ep_size > 0 && options.ep_size != ep_size)
        throw UsageError("--ep_size " + std::to_string(options.ep_size) + ": " + path + " ran on " +
                         std::to_string(ep_size) +
                         " ranks, and with --load_balancer the report is of what ran; leave "
                         "--ep_size out");
    return ep_size;
}

// What ran. all_layers: those that `under` has, before some were chosen.
Subject recorded(const ExpertStatistics& statistics,
                 const std::vector<LayerLoad>& loads,
                 const std::string& path,
                 const std::optional<RecordedUnder>& under,
                 const std::vector<int>& all_layers,
                 int ep_size) {
    if (!under)
        return recorded_subject(statistics, loads, path, ep_size);
    std::vector<LayerLoad> slot_load;
    for (std::size_t i = 0; i < all_layers.size(); ++i)
        if (statistics.find_layer(all_layers[i]))
            slot_load.push_back(under->slot_load[i]);
    return in_force_subject(statistics, path, under->config, std::move(slot_load), ep_size);
}

ReportInput load_input(const cli::Output& out,
                       const ReportOptions& options,
                       const std::string& path,
                       ThreadPool& threads) {
    ReportInput input;
    input.path = path;
    const bool is_projected = !options.config_paths.empty();
    // a placement that is fitted here is eplb-gen's, which looks at the source ranks too
    const bool is_fitted = view_of(options).tests_placement && !is_projected;
    // tokens are drawn by their routed ids
    const bool is_drawn = options.tokens_per_rank > 0 && options.statistics.load_balancer.empty() &&
                          cli::is_folder(path) && has_trtllm_routed_ids(path);
    Projection projection(
        [&](const ExpertStatistics& recording) { return place(out, options, path, recording); },
        !options.equal_split);
    cli::StatisticsOptions reading = options.statistics;
    reading.may_hold_experts = options.expert_statistic_paths.size() > 1;
    RecordingReading recording = cli::load_statistics(
        out, path, reading, is_fitted || is_drawn ? cli::Sources::kept : cli::Sources::summed,
        threads, is_projected ? &projection : nullptr);
    const std::optional<RecordedUnder>& under = recording.under;
    input.statistics = std::move(recording.statistics);
    ExpertStatistics& statistics = input.statistics;
    replay_routed_ids(out, options, path, statistics, projection, threads);
    if (is_drawn)
        input.routed = read_trtllm_routed_ids(path, statistics);
    const std::vector<int> all_layers = statistics.layers;
    if (!options.layers.empty())
        keep_layers(statistics, options.layers, path);
    if (under)
        input.in_force = under->config;
    const int ep_size = recorded_ep_size(options, statistics, path, under);
    input.projected.resize(projection.num_configs());
    const std::vector<LayerLoad> loads = recorded_loads(statistics, threads);
    for (int i = 0; i < projection.num_configs(); ++i) {
        const ReplicaReplay& replay = projection.replay(i);
        const std::string name = path + " under " + options.config_paths[i];
        input.projected[i] =
            options.equal_split
                ? projected_subject(statistics, loads, name, replay.placements(), threads)
                : replayed_subject(statistics, loads, name, replay, threads);
    }
    if (ep_size > 0)
        input.recorded = recorded(statistics, loads, path, under, all_layers, ep_size);
    else
        input.recorded = unbalanced_subject(statistics, path,
                                            is_projected ? input.projected.front().ep_size : 1);
    return input;
}

void say_onto_which_ranks(const cli::Output& out,
                          const ReportOptions& options,
                          const std::vector<ReportInput>& inputs) {
    if (options.ep_size > 0 || options.per_expert || inputs.front().projected.empty())
        return;
    out.note("the projection is onto the recording's " +
             std::to_string(inputs.front().projected.front().ep_size) +
             " ranks; give --ep_size if the config is for another number");
}

}  // namespace

std::vector<ReportInput> load_report_inputs(const cli::Output& out,
                                            const ReportOptions& options,
                                            ThreadPool& threads) {
    std::vector<ReportInput> inputs;
    for (const std::string& path : options.expert_statistic_paths)
        inputs.push_back(load_input(out, options, path, threads));
    const bool any_is_folded =
        std::any_of(inputs.begin(), inputs.end(),
                    [](const ReportInput& one) { return one.in_force.has_value(); });
    if (!options.statistics.load_balancer.empty() && !any_is_folded)
        throw Error(options.statistics.load_balancer +
                    ": none of the recordings holds slot ids of it; leave --load_balancer out");
    say_onto_which_ranks(out, options, inputs);
    return inputs;
}

std::vector<const Subject*> compared_subjects(const std::vector<ReportInput>& inputs) {
    std::vector<const Subject*> subjects;
    for (const ReportInput& input : inputs) {
        if (input.projected.empty() || inputs.size() == 1)
            subjects.push_back(&input.recorded);
        for (const Subject& projected : input.projected)
            subjects.push_back(&projected);
    }
    return subjects;
}

Pairing pairing_of(const std::vector<ReportInput>& inputs) {
    return inputs.size() == 1 ? Pairing::paired : Pairing::independent;
}

}  // namespace eplb
