#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/report/text/table_edit.h"
#include "lib/report/text/table_writers.h"
#include "lib/report/views/views.h"
#include "tools/paths.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"
#include "tools/report_page.h"
#include "tools/report_pictures.h"
#include "tools/report_profile.h"
#include "tools/report_time.h"
#include "tools/report_views.h"
#include "tools/statistics_options.h"
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

// The view, sorted and cut.
ViewResult make_view(const ViewInput& input) {
    const ReportView& view = view_of(input.options);
    ViewResult result = view.make(input);
    Table& table = result.table;
    table.context.insert(table.context.begin(), {"view", view.name});
    if (const std::optional<SortOrder>& sort = input.options.sort) {
        const std::optional<int> column = find_column(table, sort->column);
        if (!column) {
            std::vector<std::string> keys;
            for (const TableColumn& one : table.columns)
                keys.push_back(one.key);
            throw UsageError("--sort: there is no column '" + sort->column + "'; this table has " +
                             joined(keys, ", "));
        }
        sort_rows(table, *column, sort->is_reversed);
    }
    if (input.options.top > 0)
        keep_top(table, input.options.top);
    return result;
}

// What --max_imbalance is about: the average of the last statistics, under the last config where
// there is one; where a placement was tested, that on the test.
double gated_imbalance(const ViewInput& input, const std::optional<TestedImbalance>& tested) {
    if (tested && !tested->is_held_out)
        throw Error(
            "--max_imbalance: what was measured may have been fitted to; choose ranges apart "
            "with --fit and --test");
    if (tested)
        return tested->imbalance_ratio;
    const ReportInput& last = input.inputs.back();
    const MeasuredSubject& measured =
        input.measurements.of(last.projected.empty() ? last.recorded : last.projected.back());
    return measured.has_tokens() ? measured.average.imbalance_ratio : kNotKnown;
}

void check_max_imbalance(double imbalance, double limit) {
    if (std::isnan(imbalance))
        throw Error("--max_imbalance: nothing was measured, no iteration has tokens");
    if (imbalance > limit)
        throw GateError("--max_imbalance " + formatted("%.6g", limit) +
                        ": the average imbalance ratio is " + formatted("%.6g", imbalance) +
                        "; fit a new placement with eplb-gen, or give it more slots");
}

int report(const cli::Output& out, const ReportOptions& options) {
    if (!options.fit_time_profile.empty()) {
        check_profile_options(options);
        fit_time_profile(out, options);
        return cli::kDone;
    }
    if (options.per_expert && options.ep_size > 0)
        throw UsageError("--ep_size says nothing about --per_expert, which looks at no ranks");
    cli::check_statistics_options(options.statistics);
    check_view_options(options);
    cli::check_time_options(options.time);
    std::optional<GpuCost> gpu;
    int top_k = 0;
    if (options.time.has_profile() && options.statistics.model_config.is_given())
        top_k = options.statistics.model_config.shape().top_k;
    if (options.time.has_profile())
        gpu = cli::gpu_cost(out, options.time, options.statistics.model_config);
    std::vector<std::string> input_paths = options.expert_statistic_paths;
    input_paths.insert(input_paths.end(), options.config_paths.begin(), options.config_paths.end());
    for (const std::string& file : cli::files_of(options.statistics))
        input_paths.push_back(file);
    input_paths.push_back(options.time.time_profile);
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
    Measurements measurements(bins_of(options), threads);
    const ViewInput input{options, inputs, measurements, gpu ? &*gpu : nullptr, top_k};
    const bool is_picture_alone = options.heatmap && !page;
    const ViewResult result = is_picture_alone ? ViewResult() : make_view(input);
    output.write(options.heatmap ? heatmap_text(input)
                                 : write_table(result.table, options.format, options.digits));
    output.sync();
    if (page) {
        page->write(html_page(input, result));
        page->commit();
    }
    output.commit();
    if (options.max_imbalance)
        check_max_imbalance(gated_imbalance(input, result.tested), *options.max_imbalance);
    if (options.max_time)
        check_max_time(input, result);
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
