#include "tools/report_views.h"

#include <algorithm>
#include <variant>

#include "lib/base/error.h"
#include "lib/report/load_summary.h"
#include "lib/report/views.h"
#include "tools/report_analysis.h"
#include "tools/report_traffic.h"

namespace eplb {
namespace {

Bins bins_of(const ReportOptions& options) {
    return options.per_expert ? Bins::slots : Bins::ranks;
}

}  // namespace

View view_of(const ReportOptions& options) {
    if (options.view)
        return *options.view;
    return options.expert_statistic_paths.size() + options.config_paths.size() > 2 ||
                   options.expert_statistic_paths.size() > 1
               ? View::comparison
               : View::layers;
}

void check_view_options(const CLI::App& app, const ReportOptions& options) {
    struct OnlyFor {
        const char* option;
        std::vector<View> views;
    };
    const std::vector<OnlyFor> all = {
        {"fit", {View::held_out}},
        {"test", {View::held_out}},
        {"num_slots", {View::held_out}},
        {"min_speedup", {View::held_out}},
        {"num_nodes", {View::traffic, View::faults}},
        {"bytes_per_token", {View::traffic, View::rank_traffic}},
        {"moe_share", {View::worth}},
        {"tokens_per_second_per_rank", {View::worth}},
        {"per_expert",
         {View::layers, View::ranks, View::iterations, View::percentiles, View::comparison}},
    };
    const View view = view_of(options);
    for (const auto& [option, views] : all) {
        const bool is_given = app.get_option("--" + std::string(option))->count() > 0;
        if (!is_given || std::find(views.begin(), views.end(), view) != views.end())
            continue;
        std::string names;
        for (const View one : views)
            names += (names.empty() ? "" : ", ") + view_name(one);
        throw UsageError("--" + std::string(option) + " says nothing to --view " + view_name(view) +
                         "; it is for " + names);
    }
    if (options.equal_split && options.config_paths.empty())
        throw UsageError(
            "--equal_split is about replicas, which only a config has; give one with "
            "--projection_eplb_config_path");
}

const Subject& only_subject(const std::vector<ReportInput>& inputs) {
    if (inputs.size() > 1 || inputs.front().projected.size() > 1)
        throw UsageError(
            "this --view looks at one statistics and at most one config; comparison "
            "takes several");
    return inputs.front().projected.empty() ? inputs.front().recorded
                                            : inputs.front().projected.front();
}

Table make_view(const ReportOptions& options,
                const std::vector<ReportInput>& inputs,
                ThreadPool& threads) {
    const Bins bins = bins_of(options);
    switch (view_of(options)) {
        case View::layers:
            return layer_table(only_subject(inputs), bins, threads);
        case View::ranks:
            return bin_table(only_subject(inputs), bins, threads);
        case View::experts:
            return expert_table(only_subject(inputs));
        case View::iterations:
            return iteration_table(only_subject(inputs), bins, threads);
        case View::percentiles:
            return percentile_table(only_subject(inputs), bins, threads);
        case View::traffic:
            return make_traffic_table(options, inputs.front(), only_subject(inputs), threads);
        case View::rank_traffic:
            return make_rank_traffic_table(options, inputs.front(), only_subject(inputs), threads);
        case View::faults:
            return make_fault_table(options, only_subject(inputs));
        case View::comparison:
            return comparison_view(inputs, bins, threads);
        case View::held_out:
            return held_out_view(options, inputs, threads);
        case View::drift:
            return drift_view(inputs, threads);
        case View::worth:
            return worth_view(options, inputs, threads);
    }
    return {};
}

double gated_imbalance(const ReportOptions& options,
                       const std::vector<ReportInput>& inputs,
                       const Table& table,
                       ThreadPool& threads) {
    if (view_of(options) == View::held_out) {
        const auto column =
            std::find_if(table.columns.begin(), table.columns.end(),
                         [](const TableColumn& found) { return found.key == "held_out"; });
        return std::get<double>(
            table.average[static_cast<std::size_t>(column - table.columns.begin())]);
    }
    const ReportInput& last = inputs.back();
    const Subject& subject = last.projected.empty() ? last.recorded : last.projected.back();
    std::vector<LoadSummary> layers(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        layers[static_cast<std::size_t>(layer)] =
            summarize(bins_of(subject, static_cast<int>(layer), bins_of(options)));
    });
    return average(layers).imbalance_ratio;
}

}  // namespace eplb
