#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/eplb_config.h"
#include "lib/placement/rank_load.h"
#include "lib/report/load_summary.h"
#include "lib/report/table_writers.h"
#include "tools/cli.h"

namespace {

using namespace eplb;

struct ReportOptions {
    std::string expert_statistic_path;
    cli::StatisticsOptions statistics;
    std::string projection_eplb_config_path;
    int ep_size = 0;  // 0: not given
    bool per_expert = false;
    std::string layers;
    TableFormat format = TableFormat::text;
    std::string output_path = "-";
};

void add_options(CLI::App& app, ReportOptions& options) {
    cli::add_statistics_path(app, options.expert_statistic_path);
    cli::add_statistics_options(app, options.statistics);
    app.add_option(cli::flag("projection_eplb_config_path"), options.projection_eplb_config_path,
                   "EPLB yaml: report what its placement would make of the recorded load")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.add_option(cli::flag("ep_size"), options.ep_size,
                   "Ranks to report on; by default those of the recording")
        ->type_name("N")
        ->check(cli::positive());
    app.add_flag(cli::flag("per_expert"), options.per_expert,
                 "Compare experts (with a config: slots) instead of ranks");
    app.add_option("--layers", options.layers, "Only these layers, like 3,10-20")
        ->type_name("LIST")
        ->check(cli::not_empty());
    cli::add_format_option(app, options.format, "Format of the report");
    app.add_option("-o," + cli::flag("output_path"), options.output_path,
                   "Where the report goes; - is standard output")
        ->type_name("FILE")
        ->check(cli::not_empty())
        ->capture_default_str();
    app.footer(
        "For each layer, over the ranks of an iteration and then averaged over iterations: mean\n"
        "tokens, standard deviation (n - 1), imbalance ratio (max - mean) / mean. Best 0.\n"
        "\n"
        "examples:\n"
        "  eplb-report expert_statistic\n"
        "  eplb-report expert_statistic --iter_start 100 --iter_stop 200 --layers 3,10-20\n"
        "  eplb-report expert_statistic --projection_eplb_config_path eplb.yaml --ep_size 36\n"
        "  eplb-report expert_statistic --per_expert --format json -o report.json\n"
        "  eplb-collect --preset deepseek-r1 --expert_statistic_path - | eplb-report -");
}

// ranks of a report on slots (or experts, where they are the slots)
int resolve_ep_size(const ReportOptions& options,
                    const ExpertStatistics& statistics,
                    int num_slots) {
    if (options.ep_size > 0) {
        if (num_slots % options.ep_size != 0)
            throw UsageError("--ep_size " + std::to_string(options.ep_size) + " does not divide " +
                             std::to_string(num_slots) +
                             " slots: each rank holds the same number of them");
        return options.ep_size;
    }
    if (num_slots % statistics.ep_size != 0)
        throw UsageError(std::to_string(num_slots) +
                         " slots (experts, where there is no config) cannot be spread evenly over "
                         "the " +
                         std::to_string(statistics.ep_size) +
                         " ranks of the recording; give --ep_size (if a rank file is missing, "
                         "copy it)");
    return statistics.ep_size;
}

std::span<const int> assignment_of(const EplbConfig& config,
                                   const std::string& path,
                                   int layer_id) {
    const auto found = config.initial_global_assignments.find(layer_id);
    if (found == config.initial_global_assignments.end())
        throw Error(path + ": has no assignment for layer " + std::to_string(layer_id) +
                    "; leave the layer out with --layers, or add it with eplb-gen --fill_layers");
    return found->second;
}

std::vector<Cell> summary_row(Cell label, const LoadSummary& summary) {
    return {std::move(label), summary.mean, summary.std, summary.imbalance_ratio};
}

int report(const CLI::App& app, const ReportOptions& options) {
    if (options.per_expert && options.ep_size > 0)
        throw UsageError("--ep_size says nothing about --per_expert, which looks at no ranks");
    const std::vector<int> layers = options.layers.empty()
                                        ? std::vector<int>()
                                        : cli::parse_layer_list(options.layers, "--layers");
    cli::check_output(options.output_path,
                      {options.expert_statistic_path, options.statistics.load_balancer,
                       options.projection_eplb_config_path});
    OutputFile output(options.output_path);
    ThreadPool threads(options.statistics.num_threads);
    ExpertStatistics statistics = cli::load_statistics(
        options.expert_statistic_path, options.statistics, cli::Sources::summed, threads);
    if (!layers.empty())
        cli::keep_layers(statistics, layers);

    const bool projected = !options.projection_eplb_config_path.empty();
    EplbConfig config;
    if (projected) {
        if (statistics.ids == IdKind::slot)
            throw Error(
                "the statistics hold the slot ids of a run with EPLB; give the yaml that "
                "was in force with --load_balancer to project them");
        config = read_eplb_config(options.projection_eplb_config_path,
                                  {.num_experts = statistics.num_experts});
    }
    const int num_slots = projected ? config.num_slots : statistics.num_experts;
    const int ep_size = options.per_expert ? 0 : resolve_ep_size(options, statistics, num_slots);
    if (projected && ep_size > 0 && options.ep_size == 0)
        cli::note(app, "the projection is onto the recording's " + std::to_string(ep_size) +
                           " ranks; give --ep_size if the config is for another number");

    std::vector<LoadSummary> summaries(statistics.layers.size());
    threads.for_each(statistics.num_layers(), [&](std::int64_t index) {
        const int layer = static_cast<int>(index);
        LayerLoad load =
            projected ? projected_load(statistics, layer,
                                       assignment_of(config, options.projection_eplb_config_path,
                                                     statistics.layers[index]))
                      : recorded_load(statistics, layer);
        if (!options.per_expert)
            load = rank_load(load, ep_size);
        summaries[static_cast<std::size_t>(index)] = summarize(load);
    });

    Table table;
    table.title = "Load statistics:";
    table.columns = {{"layer", "layer"},
                     {"mean", "mean"},
                     {"std", "std"},
                     {"imbalance_ratio", "imbalance-ratio"}};
    std::int64_t num_empty_iterations = 0;  // over layers
    for (std::size_t i = 0; i < summaries.size(); ++i) {
        table.rows.push_back(
            summary_row(static_cast<std::int64_t>(statistics.layers[i]), summaries[i]));
        num_empty_iterations += summaries[i].num_empty_iterations;
    }
    table.average = summary_row(std::string("average"), average(summaries));
    const bool slots = projected || statistics.ids == IdKind::slot;
    table.context = {
        {"bins", std::string(!options.per_expert ? "ranks"
                             : slots             ? "slots"
                                                 : "experts")},
        {"num_bins", static_cast<std::int64_t>(options.per_expert ? num_slots : ep_size)},
        {"ids", std::string(statistics.ids == IdKind::slot ? "slot" : "expert")},
        {"num_experts", static_cast<std::int64_t>(statistics.num_experts)},
        {"top_k", static_cast<std::int64_t>(statistics.top_k)},
        {"iter_start", statistics.iter_start},
        {"iter_stop", statistics.iter_stop()},
        {"num_empty_iterations", num_empty_iterations},
    };
    if (projected)
        table.context.emplace_back("projection_eplb_config_path",
                                   options.projection_eplb_config_path);
    if (num_empty_iterations > 0)
        cli::warn(app, std::to_string(num_empty_iterations) +
                           " pairs of iteration and layer have no tokens; they are left out of the "
                           "averages");
    output.write(write_table(table, options.format));
    output.commit();
    return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
    ReportOptions options;
    return cli::run_tool(
        {.name = "eplb-report",
         .description =
             "Report how evenly a Mixture-of-Experts model loads its expert-parallel ranks.",
         .add_options = [&](CLI::App& app) { add_options(app, options); },
         .run = [&](const CLI::App& app) { return report(app, options); }},
        argc, argv);
}
