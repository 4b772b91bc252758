#include "tools/report_traffic.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/formats/eplb_config.h"
#include "lib/formats/statistics_source.h"
#include "lib/formats/trtllm_statistics.h"
#include "lib/report/fault_table.h"
#include "lib/report/traffic_table.h"

namespace eplb {
namespace {

void check_ranks(const ReportOptions& options, const Subject& subject) {
    if (options.per_expert)
        throw UsageError("--per_expert: this --view is about ranks; leave it out");
    if (subject.ep_size % options.num_nodes != 0)
        throw UsageError("--num_nodes " + std::to_string(options.num_nodes) +
                         " does not divide the " + std::to_string(subject.ep_size) +
                         " ranks: all nodes have the same number of them");
}

// Only these layers, which are there.
void keep_layers(RoutedIds& routed, const std::vector<int>& layers) {
    RoutedIds kept = routed;
    kept.layers = layers;
    kept.ids.clear();
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (const int layer_id : layers) {
            const auto found =
                std::lower_bound(routed.layers.begin(), routed.layers.end(), layer_id);
            const auto layer = static_cast<int>(found - routed.layers.begin());
            for (int source = 0; source < routed.ep_size; ++source)
                kept.ids.push_back(std::move(routed.cell(iteration, layer, source)));
        }
    routed = std::move(kept);
}

// Slot ids turn into experts. The counts beside them were folded before, so that the config is
// known to fit.
void fold_slots(RoutedIds& routed, const EplbConfig& config) {
    for (int layer = 0; layer < static_cast<int>(routed.layers.size()); ++layer) {
        const std::vector<int>& expert_ids =
            config.initial_global_assignments.at(routed.layers[static_cast<std::size_t>(layer)]);
        for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
            for (int source = 0; source < routed.ep_size; ++source)
                for (std::int32_t& id : routed.cell(iteration, layer, source))
                    id = id < 0 ? id : expert_ids.at(static_cast<std::size_t>(id));
    }
}

RoutedIds read_routed_ids(const ReportOptions& options,
                          const std::string& path,
                          const Subject& subject,
                          ThreadPool& threads) {
    const std::string remedy =
        " no routed ids, and counts do not tell which experts a token takes together; record a "
        "folder with them (eplb-collect --raw, or upstream's token_selected_experts files)";
    if (path == "-" || !std::filesystem::is_directory(path))
        throw Error((path == "-" ? "standard input" : path) + ": a stream holds" + remedy);
    // the ids are checked against the counts as they were recorded: all layers, not folded
    const ExpertStatistics statistics = read_statistics(
        path,
        {.iter_start = options.statistics.iter_start, .iter_stop = options.statistics.iter_stop},
        threads);
    std::optional<RoutedIds> routed = read_trtllm_routed_ids(path, statistics);
    if (!routed)
        throw Error(path + ": holds" + remedy);
    keep_layers(*routed, subject.layers);
    if (!options.statistics.load_balancer.empty())
        fold_slots(*routed, read_eplb_config(options.statistics.load_balancer));
    return std::move(*routed);
}

TrafficOptions traffic_options(const ReportOptions& options) {
    return {.num_nodes = options.num_nodes, .bytes_per_token = options.bytes_per_token};
}

std::vector<ReplayedTraffic> read_traffic(const ReportOptions& options,
                                          const ReportInput& input,
                                          const Subject& subject,
                                          ThreadPool& threads) {
    check_ranks(options, subject);
    if (options.equal_split)
        throw UsageError(
            "--equal_split: a token goes to one replica, not to a part of each; "
            "leave it out of this --view");
    return traffic_of(subject, read_routed_ids(options, input.path, subject, threads),
                      options.num_nodes, threads);
}

}  // namespace

Table make_traffic_table(const ReportOptions& options,
                         const ReportInput& input,
                         const Subject& subject,
                         ThreadPool& threads) {
    return traffic_table(subject, read_traffic(options, input, subject, threads),
                         traffic_options(options));
}

Table make_rank_traffic_table(const ReportOptions& options,
                              const ReportInput& input,
                              const Subject& subject,
                              ThreadPool& threads) {
    return rank_traffic_table(subject, read_traffic(options, input, subject, threads),
                              traffic_options(options));
}

Table make_fault_table(const ReportOptions& options, const Subject& subject) {
    check_ranks(options, subject);
    return fault_table(subject, options.num_nodes);
}

}  // namespace eplb
