#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/report/table_edit.h"
#include "lib/report/table_writers.h"
#include "lib/report/views.h"
#include "tools/cli.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"
#include "tools/report_pictures.h"

namespace {

using namespace eplb;

// The one that a view of a single subject is about.
const Subject& only_subject(const std::vector<ReportInput>& inputs) {
    if (inputs.size() > 1 || inputs.front().projected.size() > 1)
        throw UsageError(
            "this --view looks at one statistics and at most one config; comparison "
            "takes several");
    return inputs.front().projected.empty() ? inputs.front().recorded
                                            : inputs.front().projected.front();
}

View view_of(const ReportOptions& options) {
    if (options.view)
        return *options.view;
    return options.expert_statistic_paths.size() + options.config_paths.size() > 2 ||
                   options.expert_statistic_paths.size() > 1
               ? View::comparison
               : View::layers;
}

Table make_table(const ReportOptions& options,
                 const std::vector<ReportInput>& inputs,
                 ThreadPool& threads) {
    const Bins bins = options.per_expert ? Bins::slots : Bins::ranks;
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
        case View::comparison:
        case View::held_out:
        case View::drift:
        case View::traffic:
        case View::rank_traffic:
        case View::faults:
        case View::worth:
            break;
    }
    throw GateError("not yet");
}

int report(const CLI::App& app, const ReportOptions& options) {
    if (options.per_expert && options.ep_size > 0)
        throw UsageError("--ep_size says nothing about --per_expert, which looks at no ranks");
    std::vector<std::string> input_paths = options.expert_statistic_paths;
    input_paths.insert(input_paths.end(), options.config_paths.begin(), options.config_paths.end());
    input_paths.push_back(options.statistics.load_balancer);
    cli::check_output(options.output_path, input_paths);
    check_picture_options(options);
    OutputFile output(options.output_path);
    std::optional<OutputFile> page;
    if (!options.html_path.empty()) {
        cli::check_output(options.html_path, input_paths);
        page.emplace(options.html_path);
    }
    ThreadPool threads(options.statistics.num_threads);
    const std::vector<ReportInput> inputs = load_report_inputs(app, options, threads);
    Table table = make_table(options, inputs, threads);
    table.context.insert(table.context.begin(), {"view", view_name(view_of(options))});
    if (!options.sort.empty())
        sort_rows(table, options.sort);
    if (options.top > 0)
        keep_top(table, options.top);
    output.write(options.heatmap ? heatmap_text(options, inputs, threads)
                                 : write_table(table, options.format, options.precision));
    output.sync();
    if (page) {
        page->write(html_page(options, inputs, {table}, "", threads));
        page->commit();
    }
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
         .add_options = [&](CLI::App& app) { add_report_options(app, options); },
         .run = [&](const CLI::App& app) { return report(app, options); }},
        argc, argv);
}
