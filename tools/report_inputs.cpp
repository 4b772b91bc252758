#include "tools/report_inputs.h"

#include <map>
#include <utility>

#include "lib/base/error.h"
#include "lib/formats/eplb_config.h"

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
                             " slots: each rank holds the same number of them");
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
    const auto found = config.initial_global_assignments.find(layer_id);
    if (found == config.initial_global_assignments.end())
        throw Error(path + ": has no assignment for layer " + std::to_string(layer_id) +
                    "; leave the layer out with --layers, or add it with eplb-gen --fill_layers");
    return found->second;
}

std::vector<Placement> placements_of(const EplbConfig& config,
                                     const std::string& path,
                                     const std::vector<int>& layers,
                                     int ep_size) {
    std::vector<Placement> placements;
    for (const int layer_id : layers)
        placements.push_back(
            {ep_size, config.num_slots / ep_size, assignment_of(config, path, layer_id)});
    return placements;
}

ReportInput load_input(const CLI::App& app,
                       const ReportOptions& options,
                       const std::string& path,
                       ThreadPool& threads) {
    ReportInput input;
    input.path = path;
    // a placement that is fitted here is eplb-gen's, which looks at the source ranks too
    const bool is_fitted = options.view == View::held_out;
    input.statistics = cli::load_statistics(
        path, options.statistics, is_fitted ? cli::Sources::kept : cli::Sources::summed, threads);
    ExpertStatistics& statistics = input.statistics;
    if (!options.layers.empty())
        cli::keep_layers(statistics, cli::parse_layer_list(options.layers, "--layers"));
    const bool is_projected = !options.config_paths.empty();
    if (is_projected && statistics.ids == IdKind::slot)
        throw Error(path +
                    ": holds the slot ids of a run with EPLB; give the yaml that was in force with "
                    "--load_balancer to project them");

    int recorded_ep_size = dividing_ep_size(options, statistics.ep_size, statistics.num_experts);
    if (!is_projected && !options.per_expert && !is_fitted)
        recorded_ep_size = required_ep_size(options, statistics.ep_size, statistics.num_experts);
    input.recorded = recorded_subject(statistics, path, std::max(recorded_ep_size, 1));

    for (const std::string& config_path : options.config_paths) {
        const EplbConfig config =
            read_eplb_config(config_path, {.num_experts = statistics.num_experts});
        const int ep_size =
            options.per_expert
                ? std::max(dividing_ep_size(options, statistics.ep_size, config.num_slots), 1)
                : required_ep_size(options, statistics.ep_size, config.num_slots);
        if (options.ep_size == 0 && !options.per_expert)
            cli::note(app, "the projection is onto the recording's " + std::to_string(ep_size) +
                               " ranks; give --ep_size if the config is for another number");
        input.projected.push_back(
            projected_subject(statistics, path + " under " + config_path,
                              placements_of(config, config_path, statistics.layers, ep_size)));
    }
    return input;
}

}  // namespace

std::vector<ReportInput> load_report_inputs(const CLI::App& app,
                                            const ReportOptions& options,
                                            ThreadPool& threads) {
    std::vector<ReportInput> inputs;
    for (const std::string& path : options.expert_statistic_paths)
        inputs.push_back(load_input(app, options, path, threads));
    if (inputs.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a stream, or -");
    return inputs;
}

}  // namespace eplb
