#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/report/text/table_edit.h"
#include "lib/report/text/table_writers.h"
#include "lib/report/views/views.h"
#include "tools/paths.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"
#include "tools/report_page.h"
#include "tools/report_pictures.h"
#include "tools/report_views.h"
#include "tools/terminal.h"
#include "tools/tool.h"

namespace {

using namespace eplb;

void warn_of_empty_iterations(const cli::Output& out, const std::vector<ReportInput>& inputs) {
    std::int64_t num_empty = 0;
    for (const ReportInput& input : inputs)
        num_empty += num_empty_iterations(input.recorded);
    if (num_empty > 0)
        out.warn(std::to_string(num_empty) +
                 " pairs of iteration and layer have no tokens; they are left out of the "
                 "averages");
}

void check_max_imbalance(double imbalance, double limit) {
    if (std::isnan(imbalance))
        throw Error("--max_imbalance: nothing was measured, no iteration has tokens");
    if (imbalance > limit)
        throw GateError("--max_imbalance " + cli::formatted("%.6g", limit) +
                        ": the average imbalance ratio is " + cli::formatted("%.6g", imbalance) +
                        "; fit a new placement with eplb-gen, or give it more slots");
}

// The view, sorted and cut.
Table make_table(const ReportOptions& options,
                 const std::vector<ReportInput>& inputs,
                 ThreadPool& threads) {
    Table table = make_view(options, inputs, threads);
    table.context.insert(table.context.begin(), {"view", view_name(view_of(options))});
    if (!options.sort.empty())
        sort_rows(table, options.sort);
    if (options.top > 0)
        keep_top(table, options.top);
    return table;
}

int report(const cli::Output& out, const ReportOptions& options) {
    if (options.per_expert && options.ep_size > 0)
        throw UsageError("--ep_size says nothing about --per_expert, which looks at no ranks");
    check_view_options(options);
    std::vector<std::string> input_paths = options.expert_statistic_paths;
    input_paths.insert(input_paths.end(), options.config_paths.begin(), options.config_paths.end());
    for (const std::string& file : cli::files_of(options.statistics))
        input_paths.push_back(file);
    cli::check_output(options.output_path, input_paths);
    check_picture_options(options);
    OutputFile output(options.output_path);
    std::optional<OutputFile> page;
    if (!options.html_path.empty()) {
        cli::check_output(options.html_path, input_paths);
        page.emplace(options.html_path);
    }
    ThreadPool threads(options.statistics.num_threads);
    const std::vector<ReportInput> inputs = load_report_inputs(out, options, threads);
    warn_of_empty_iterations(out, inputs);
    const bool is_picture_alone = options.heatmap && !page;
    const Table table = is_picture_alone ? Table() : make_table(options, inputs, threads);
    output.write(options.heatmap ? heatmap_text(options, inputs, threads)
                                 : write_table(table, options.format, options.precision));
    output.sync();
    if (page) {
        page->write(html_page(options, inputs, table, threads));
        page->commit();
    }
    output.commit();
    if (options.max_imbalance)
        check_max_imbalance(gated_imbalance(options, inputs, table, threads),
                            *options.max_imbalance);
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
         .run = [&](const cli::Output& out) { return report(out, options); }},
        argc, argv);
}
