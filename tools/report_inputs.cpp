#include "tools/report_inputs.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/engines/engine.h"
#include "lib/formats/configs/config_file.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/placement/route/replica_replay.h"
#include "lib/statistics/row_sink.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"
#include "tools/typed_values.h"

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

const std::vector<int>& assignment_of(const EplbConfig& config,
                                      const std::string& path,
                                      int layer_id) {
    if (config.initial_global_assignments.empty())
        throw Error(path +
                    ": has no initial_global_assignments, as one of online balancing: there is no "
                    "placement to project; give one that eplb-gen made from statistics");
    const auto found = config.initial_global_assignments.find(layer_id);
    if (found == config.initial_global_assignments.end())
        throw Error(path + ": has no assignment for layer " + std::to_string(layer_id) +
                    "; leave the layer out with --layers, or add it with eplb-gen --fill_layers");
    return found->second;
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

std::vector<Placement> placements_of(const EplbConfig& config,
                                     const std::string& path,
                                     const std::vector<int>& layers,
                                     int ep_size) {
    std::vector<Placement> placements;
    placements.reserve(layers.size());
    for (const int layer_id : layers)
        placements.push_back(
            {ep_size, config.num_slots / ep_size, assignment_of(config, path, layer_id)});
    return placements;
}

// What the configs make of a recording, row by row while it is read.
class Projection : public RowSink {
  public:
    Projection(const cli::Output& out, const ReportOptions& options, std::string path)
        : out_(out), options_(options), path_(std::move(path)) {}

    void begin(const ExpertStatistics& recording) override {
        if (recording.ids == IdKind::slot)
            throw Error(path_ +
                        ": holds the slot ids of a run with EPLB; give the yaml that was in force "
                        "with --load_balancer to project them");
        ExpertStatistics shape = recording;
        shape.num_iterations = 0;
        if (!options_.layers.empty())
            keep_layers(shape, cli::parse_layer_list(options_.layers, "--layers"), path_);
        for (const int layer_id : recording.layers)
            positions_.push_back(shape.find_layer(layer_id));
        for (const std::string& config_path : options_.config_paths) {
            const EngineConfig read = cli::read_engine_config(
                out_, config_path, options_.statistics, context_of_recording(recording));
            const EplbConfig& config = read.config;
            int ep_size = options_.ep_size == 0 ? read.ep_size : 0;
            if (ep_size == 0)
                ep_size =
                    options_.per_expert
                        ? std::max(dividing_ep_size(options_, shape.ep_size, config.num_slots), 1)
                        : required_ep_size(options_, source_ep_size(options_, shape, path_),
                                           config.num_slots);
            replays_.emplace_back(placements_of(config, config_path, shape.layers, ep_size),
                                  shape.num_experts, recording.iter_start,
                                  recording.num_iterations);
        }
    }

    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override {
        const std::optional<int> position = positions_[layer];
        if (!position || options_.equal_split)
            return;
        for (ReplicaReplay& replay : replays_)
            replay.add_counts(iteration, *position, source, counts);
    }

    // Where counts did not do, routed ids may. recording: all layers, summed over source ranks.
    // Gives the reason where there are ids that do not do either.
    std::optional<std::string> replay_routed_ids(const ExpertStatistics& recording,
                                                 ThreadPool& threads) {
        std::vector<ReplicaReplay*> inexact;
        for (ReplicaReplay& replay : replays_)
            if (!replay.is_exact())
                inexact.push_back(&replay);
        const bool is_folded = !options_.statistics.load_balancer.empty();  // the ids are slots
        if (inexact.empty() || is_folded || !cli::is_folder(path_) || !has_trtllm_routed_ids(path_))
            return std::nullopt;
        if (auto incomplete = find_incomplete_routed_ids(path_, recording))
            return incomplete;
        for (ReplicaReplay* const replay : inexact)
            replay->restart_from_ids();
        try {
            visit_trtllm_routed_ids(
                path_, recording, threads,
                [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
                    if (const auto position = positions_[layer])
                        for (ReplicaReplay* const replay : inexact)
                            replay->add_ids(iteration, *position, source, ids);
                });
        } catch (const Error& error) {
            throw Error(std::string(error.what()) + ", or give --equal_split, which needs none");
        }
        return std::nullopt;
    }

    std::size_t num_configs() const { return replays_.size(); }

    // statistics: only the layers wanted
    Subject subject(const ExpertStatistics& statistics, std::size_t config) const {
        const ReplicaReplay& replay = replays_[config];
        std::string name = path_ + " under " + options_.config_paths[config];
        return options_.equal_split
                   ? projected_subject(statistics, std::move(name), replay.placements())
                   : replayed_subject(statistics, std::move(name), replay);
    }

  private:
    // What a config may leave open: the recording is of the same model.
    ConfigContext context_of_recording(const ExpertStatistics& recording) const {
        ConfigContext context = cli::config_context(options_.statistics);
        context.num_experts = recording.num_experts;
        if (context.num_hidden_layers == 0)
            context.num_hidden_layers = recording.num_hidden_layers;
        if (context.moe_layers.empty() && !context.first_moe_layer && recording.has_all_moe_layers)
            context.moe_layers = recording.layers;
        return context;
    }

    const cli::Output& out_;
    const ReportOptions& options_;
    std::string path_;
    std::vector<std::optional<int>> positions_;  // [layers of the recording], among those wanted
    std::deque<ReplicaReplay> replays_;          // [configs]
};

// The slots as they were, with the experts that the config in force put there. statistics: folded
// to experts, all_layers those before some were chosen.
Subject in_force_subject(const ExpertStatistics& statistics,
                         const RecordedUnder& under,
                         const std::vector<int>& all_layers,
                         const std::string& path,
                         int ep_size) {
    Subject subject = recorded_subject(statistics, path, 1);
    subject.ep_size = ep_size;
    subject.ids = IdKind::slot;
    subject.slot_load.clear();
    subject.placements.clear();
    for (const int layer_id : statistics.layers) {
        const auto layer = std::lower_bound(all_layers.begin(), all_layers.end(), layer_id);
        subject.slot_load.push_back(under.slot_load[layer - all_layers.begin()]);
        subject.placements.push_back({ep_size, under.config.num_slots / ep_size,
                                      under.config.initial_global_assignments.at(layer_id)});
    }
    return subject;
}

bool looks_at_ranks(const ReportOptions& options) {
    return !options.per_expert && options.view != View::experts && options.view != View::drift &&
           options.view != View::held_out;
}

ReportInput load_input(const cli::Output& out,
                       const ReportOptions& options,
                       const std::string& path,
                       ThreadPool& threads) {
    ReportInput input;
    input.path = path;
    const bool is_projected = !options.config_paths.empty();
    // a placement that is fitted here is eplb-gen's, which looks at the source ranks too
    const bool is_fitted = options.view == View::held_out && !is_projected;
    Projection projection(out, options, path);
    cli::StatisticsOptions reading = options.statistics;
    reading.may_hold_experts = options.expert_statistic_paths.size() > 1;
    RecordingReading recording = cli::load_statistics(
        out, path, reading, is_fitted ? cli::Sources::kept : cli::Sources::summed, threads,
        is_projected ? &projection : nullptr);
    const std::optional<RecordedUnder>& under = recording.under;
    input.statistics = std::move(recording.statistics);
    ExpertStatistics& statistics = input.statistics;
    if (const auto incomplete = projection.replay_routed_ids(statistics, threads))
        out.warn(*incomplete + "; the counts are used alone");
    const std::vector<int> all_layers = statistics.layers;
    if (!options.layers.empty())
        keep_layers(statistics, cli::parse_layer_list(options.layers, "--layers"), path);

    input.is_folded = under.has_value();
    int recorded_ep_size = dividing_ep_size(
        options, statistics.has_unknown_sources ? 0 : statistics.ep_size, statistics.num_experts);
    if (under)  // what ran, on the ranks that it ran on
        recorded_ep_size = required_ep_size({}, source_ep_size(options, statistics, path),
                                            under->config.num_slots);
    else if (!is_projected && looks_at_ranks(options))
        recorded_ep_size = required_ep_size(options, source_ep_size(options, statistics, path),
                                            statistics.num_experts);
    if (under && !is_projected && options.view != View::held_out && options.ep_size > 0 &&
        options.ep_size != recorded_ep_size)
        throw UsageError("--ep_size " + std::to_string(options.ep_size) + ": " + path + " ran on " +
                         std::to_string(recorded_ep_size) +
                         " ranks, and with --load_balancer the report is of what ran; leave "
                         "--ep_size out");
    input.projected.resize(projection.num_configs());
    threads.for_each(1 + static_cast<std::int64_t>(input.projected.size()), [&](std::int64_t i) {
        if (i > 0) {
            const auto config = static_cast<std::size_t>(i - 1);
            input.projected[config] = projection.subject(statistics, config);
        } else if (under) {
            input.recorded =
                in_force_subject(statistics, *under, all_layers, path, recorded_ep_size);
        } else if (recorded_ep_size > 0) {
            input.recorded = recorded_subject(statistics, path, recorded_ep_size);
        }
    });
    if (recorded_ep_size == 0)
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

Subject unbalanced_subject(const ExpertStatistics& statistics, std::string name, int ep_size) {
    if (statistics.num_experts % ep_size == 0)
        return recorded_subject(statistics, std::move(name), ep_size);
    const int slots_per_rank = (statistics.num_experts + ep_size - 1) / ep_size;
    return projected_subject(
        statistics, std::move(name),
        std::vector<Placement>(
            statistics.layers.size(),
            default_engine().default_placement(statistics.num_experts, ep_size, slots_per_rank)));
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

std::vector<ReportInput> load_report_inputs(const cli::Output& out,
                                            const ReportOptions& options,
                                            ThreadPool& threads) {
    std::vector<ReportInput> inputs;
    for (const std::string& path : options.expert_statistic_paths)
        inputs.push_back(load_input(out, options, path, threads));
    const bool any_is_folded = std::any_of(inputs.begin(), inputs.end(),
                                           [](const ReportInput& one) { return one.is_folded; });
    if (!options.statistics.load_balancer.empty() && !any_is_folded)
        throw Error(options.statistics.load_balancer +
                    ": none of the recordings holds slot ids of it; leave --load_balancer out");
    say_onto_which_ranks(out, options, inputs);
    return inputs;
}

}  // namespace eplb
