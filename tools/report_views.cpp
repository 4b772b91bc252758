#include "tools/report_views.h"

#include <algorithm>
#include <limits>
#include <variant>

#include "lib/base/error.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/views/views.h"
#include "tools/report_analysis.h"
#include "tools/report_traffic.h"

namespace eplb {
namespace {

// An option that only other views heed would be lost without a word.
void check_options_of_view(const ReportOptions& options) {
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
        const bool is_given =
            std::any_of(options.given.begin(), options.given.end(),
                        [&](const cli::GivenOption& one) { return one.name == option; });
        if (!is_given || std::find(views.begin(), views.end(), view) != views.end())
            continue;
        std::string names;
        for (const View one : views)
            names += (names.empty() ? "" : ", ") + view_name(one);
        throw UsageError("--" + std::string(option) + " says nothing to --view " + view_name(view) +
                         "; it is for " + names);
    }
}

// How many recordings and configs the view takes.
void check_number_of_inputs(const ReportOptions& options) {
    const View view = view_of(options);
    const std::size_t num_statistics = options.expert_statistic_paths.size();
    const std::size_t num_configs = options.config_paths.size();
    const auto refuse = [&](const std::string& what) {
        throw UsageError("--view " + view_name(view) + " " + what);
    };
    if (num_statistics == 0)
        throw UsageError(
            "--expert_statistic_path is required: a folder, a stream, or - to read a pipe");
    if (std::count(options.expert_statistic_paths.begin(), options.expert_statistic_paths.end(),
                   "-") > 1)
        throw UsageError("-, standard input, is given twice: it can be read once");
    switch (view) {
        case View::comparison:
            if (num_statistics + num_configs < 2)
                refuse("takes two statistics or more, or one and configs");
            break;
        case View::worth:
            if (num_statistics + (num_statistics > 1 ? 0 : num_configs) > 2)
                refuse("takes two statistics, or one and a config; comparison takes more");
            break;
        case View::held_out:
            if (num_statistics > 2 || num_configs > 1)
                refuse(
                    "takes the statistics that were fitted to, those to test on where they are "
                    "others, and at most one config");
            if (num_configs == 0 && (options.ep_size == 0 || options.num_slots == 0))
                refuse(
                    "fits a placement: give --ep_size and --num_slots, or the config to test with "
                    "--projection_eplb_config_path");
            break;
        case View::drift:
            if (num_statistics != 2 || num_configs > 1)
                refuse("takes two statistics, the earlier one first, and at most one config");
            break;
        default:
            if (num_statistics > 1 || num_configs > 1)
                refuse(
                    "looks at one recording, under one config at most; comparison takes several");
    }
    if (num_statistics > 1 && num_configs > 1)
        throw UsageError(
            "several statistics under several configs: give one statistics with several configs, "
            "or several with one");
}

}  // namespace

View view_of(const ReportOptions& options) {
    if (options.view)
        return *options.view;
    const bool are_several =
        options.expert_statistic_paths.size() > 1 || options.config_paths.size() > 1;
    return are_several ? View::comparison : View::layers;
}

Bins bins_of(const ReportOptions& options) {
    return options.per_expert ? Bins::slots : Bins::ranks;
}

void check_view_options(const ReportOptions& options) {
    check_options_of_view(options);
    check_number_of_inputs(options);
    cli::check_statistics_options(options.statistics);
    if (!(options.moe_share > 0 && options.moe_share <= 1))
        throw UsageError("--moe_share is a share of the time: above 0 and up to 1");
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
        const auto verdict =
            std::find_if(table.context.begin(), table.context.end(),
                         [](const auto& member) { return member.first == "verdict"; });
        if (verdict->second == Cell(std::string("none")))
            throw Error(
                "--max_imbalance: what was measured may have been fitted to; choose ranges apart "
                "with --fit and --test");
        const auto column =
            std::find_if(table.columns.begin(), table.columns.end(),
                         [](const TableColumn& found) { return found.key == "held_out"; });
        return std::get<double>(table.average[column - table.columns.begin()]);
    }
    const ReportInput& last = inputs.back();
    const Subject& subject = last.projected.empty() ? last.recorded : last.projected.back();
    std::vector<LoadSummary> layers(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        layers[layer] = summarize(bins_of(subject, static_cast<int>(layer), bins_of(options)));
    });
    const LoadSummary mean = average(layers);
    return mean.num_iterations > 0 ? mean.imbalance_ratio
                                   : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace eplb
