#include "tools/gen_inputs.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"
#include "lib/formats/statistics/trtllm_cooccurrence.h"
#include "lib/model/expert_size.h"
#include "lib/statistics/recording_checks.h"
#include "lib/statistics/selection.h"
#include "tools/gen_update.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"

namespace eplb {
namespace {

void check_ids(const ExpertStatistics& statistics, const std::string& path) {
    if (statistics.ids == IdKind::slot)
        throw Error(path +
                    (statistics.layer_updates_per_iter > 0
                         ? ": holds the slot ids of a run with online EPLB, whose experts moved; "
                           "record without layer_updates_per_iter to generate a placement"
                         : ": holds the slot ids of a run with EPLB, not experts; give the "
                           "yaml that was in force with --load_balancer"));
}

ExpertCooccurrence read_cooccurrence(const std::string& path,
                                     const cli::StatisticsOptions& options,
                                     ThreadPool& threads) {
    const std::string remedy =
        ": says nothing of which experts a token takes together; record a folder with routed ids "
        "(eplb-collect --raw)";
    if (path == "-")
        throw Error("standard input" + remedy);
    if (!cli::is_folder(path))
        throw Error(path + remedy);
    std::optional<ExpertCooccurrence> cooccurrence = read_trtllm_cooccurrence(
        path, {.iter_start = options.iter_start, .iter_stop = options.iter_stop}, threads);
    if (!cooccurrence)
        throw Error(path + remedy);
    return std::move(*cooccurrence);
}

}  // namespace

GenInputs read_inputs(const cli::Output& out, const GenOptions& options, ThreadPool& threads) {
    GenInputs inputs;
    // the upstream algorithms look at sums alone
    const cli::Sources sources =
        is_search(options.request.algorithm) ? cli::Sources::kept : cli::Sources::summed;
    cli::StatisticsOptions reading = options.statistics;
    reading.may_hold_experts = options.expert_statistic_paths.size() > 1;
    for (const std::string& path : options.expert_statistic_paths) {
        RecordingReading recording = cli::load_statistics(out, path, reading, sources, threads);
        check_ids(recording.statistics, path);
        inputs.statistics.push_back(std::move(recording.statistics));
        if (inputs.statistics.size() == 1)
            inputs.under = std::move(recording.under);
        require_alike(inputs.statistics.back(), path, inputs.statistics.front(),
                      options.expert_statistic_paths.front());
        if (options.needs_cooccurrence())
            inputs.cooccurrence.push_back(read_cooccurrence(path, options.statistics, threads));
    }
    return inputs;
}

int ep_size_of(const GenOptions& options,
               const GenInputs& inputs,
               const std::optional<EngineConfig>& current) {
    if (!options.ep_size.empty())
        return options.ep_size.front();
    if (current && current->ep_size > 0)
        return current->ep_size;
    if (inputs.statistics.front().has_unknown_sources)
        throw UsageError(options.expert_statistic_paths.front() +
                         ": does not say on how many ranks it was recorded; give --ep_size");
    return inputs.statistics.front().ep_size;
}

std::optional<EngineConfig> read_in_force(const cli::Output& out,
                                          const GenOptions& options,
                                          const GenInputs& inputs,
                                          ConfigContext& context) {
    const ExpertStatistics& first = inputs.statistics.front();
    context.num_experts = first.num_experts;
    if (context.num_hidden_layers == 0)
        context.num_hidden_layers = first.num_hidden_layers;
    if (context.moe_layers.empty() && first.has_all_moe_layers)
        context.moe_layers = first.layers;
    std::optional<EngineConfig> current;
    if (!options.current.empty())
        current = read_current(out, options, context);
    if (context.num_hidden_layers == 0 && current)
        context.num_hidden_layers = current->num_hidden_layers;
    if (context.model_key.empty() && current)
        context.model_key = current->model_key;
    context.ep_size = ep_size_of(options, inputs, current);
    return current;
}

void leave_out_mtp_layers(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context,
                          GenInputs& inputs) {
    const std::vector<int> left_out = mtp_layers(options, context);
    for (std::size_t i = 0; i < inputs.statistics.size(); ++i) {
        std::vector<int> kept = inputs.statistics[i].layers;
        std::erase_if(kept, [&](int layer) {
            return std::find(left_out.begin(), left_out.end(), layer) != left_out.end();
        });
        if (kept.size() == inputs.statistics[i].layers.size())
            continue;
        if (inputs.recorded.empty()) {
            inputs.recorded = inputs.statistics;
            note_left_out(out, inputs.statistics[i].layers.back());
        }
        keep_layers(inputs.statistics[i], kept, options.expert_statistic_paths[i]);
    }
}

double bytes_per_expert_of(const GenOptions& options) {
    if (options.bytes_per_expert > 0 || !options.statistics.model_config.is_given())
        return options.bytes_per_expert;
    const ModelJson& model = options.statistics.model_config.json();
    try {
        return expert_bytes(model);
    } catch (const Error& error) {
        throw Error(std::string(error.what()) + "; give --bytes_per_expert instead");
    }
}

}  // namespace eplb
