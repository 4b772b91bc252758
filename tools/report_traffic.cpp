#include "tools/report_traffic.h"

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/report/views/fault_table.h"
#include "lib/report/views/traffic_table.h"
#include "tools/paths.h"

namespace eplb {
namespace {

void check_ranks(const ReportOptions& options, const Subject& subject) {
    if (subject.ep_size % options.num_nodes != 0)
        throw UsageError("--num_nodes " + std::to_string(options.num_nodes) +
                         " does not divide the " + std::to_string(subject.ep_size) +
                         " ranks: all nodes have the same number of them");
}

void require_routed_ids(const std::string& path) {
    const std::string remedy =
        ": holds no routed ids of TensorRT-LLM's folders, and counts do not tell which experts a "
        "token takes together; record a folder with them (eplb-collect --raw, or upstream's "
        "token_selected_experts or raw files)";
    if (path == "-")
        throw Error("standard input" + remedy);
    if (!cli::is_folder(path) || !has_trtllm_routed_ids(path))
        throw Error(path + remedy);
}

TrafficOptions traffic_options(const ReportOptions& options) {
    return {.num_nodes = options.num_nodes, .bytes_per_token = options.bytes_per_token};
}

// Slot ids turn into experts. The counts beside them were folded before, so that the assignment is
// known to fit.
void fold(std::vector<std::int32_t>& ids, const std::vector<int>& expert_ids) {
    for (std::int32_t& id : ids)
        id = id < 0 ? id : expert_ids.at(id);
}

// One cell of ids after the other, which are not held.
std::vector<ReplayedTraffic> read_traffic(const ViewInput& view) {
    const ReportOptions& options = view.options;
    const ReportInput& input = view.inputs.front();
    const Subject& subject = view.subject();
    ThreadPool& threads = view.measurements.threads();
    check_ranks(options, subject);
    if (options.equal_split)
        throw UsageError(
            "--equal_split: a token goes to one replica, not to a part of each; "
            "leave it out of this --view");
    require_routed_ids(input.path);
    // the ids are checked against the counts as they were recorded: all layers, not folded
    const ExpertStatistics recording =
        read_trtllm_statistics(input.path,
                               {.iter_start = options.statistics.iter_start,
                                .iter_stop = options.statistics.iter_stop,
                                .sum_sources = true},
                               threads);
    std::vector<std::optional<int>> positions;  // [layers of the recording], among the subject's
    for (const int layer_id : recording.layers)
        positions.push_back(input.statistics.find_layer(layer_id));
    std::deque<TrafficReplay> replays =
        traffic_replays(subject, recording.ep_size, options.num_nodes);
    visit_trtllm_routed_ids(
        input.path, recording, threads,
        [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
            const auto position = positions[layer];
            if (!position)
                return;
            if (input.in_force)
                fold(ids, input.in_force->initial_global_assignments.at(recording.layers[layer]));
            replays[*position].add(static_cast<int>(iteration - recording.iter_start), source, ids);
        });
    std::vector<ReplayedTraffic> layers;
    for (const TrafficReplay& replay : replays)
        layers.push_back(replay.traffic());
    return layers;
}

}  // namespace

ViewResult make_traffic(const ViewInput& input) {
    return {traffic_table(input.subject(), read_traffic(input), traffic_options(input.options)),
            {}};
}

ViewResult make_rank_traffic(const ViewInput& input) {
    return {
        rank_traffic_table(input.subject(), read_traffic(input), traffic_options(input.options)),
        {}};
}

ViewResult make_faults(const ViewInput& input) {
    check_ranks(input.options, input.subject());
    return {fault_table(input.subject(), input.options.num_nodes), {}};
}

}  // namespace eplb
