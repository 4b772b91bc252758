#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/report/text/table_writers.h"
#include "tools/gen_options.h"
#include "tools/gen_plan.h"
#include "tools/gen_sweep.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"
#include "tools/tool.h"

namespace {

using namespace eplb;

EngineConfig online_config(const GenOptions& options) {
    if (options.num_slots.empty() || options.layer_updates_per_iter == 0)
        throw UsageError(
            "without --expert_statistic_path only online balancing can be configured: give "
            "--num_slots and --layer_updates_per_iter above 0");
    if (!options.fill_layers.empty())
        throw UsageError("--fill_layers needs statistics to add layers to");
    const int num_slots = options.num_slots.front();
    if (!options.ep_size.empty() && num_slots % options.ep_size.front() != 0)
        throw UsageError("--num_slots " + std::to_string(num_slots) +
                         " is no multiple of --ep_size " + std::to_string(options.ep_size.front()));
    if (options.statistics.iter_start || options.statistics.iter_stop ||
        !options.statistics.load_balancer.empty())
        throw UsageError(
            "--iter_start, --iter_stop and --load_balancer go with statistics; give "
            "--expert_statistic_path");
    if (options.max_imbalance || !options.report_path.empty() ||
        !options.request.rank_speed.empty() || !options.weights.empty() ||
        options.request.min_replicas > 1 || options.request.num_nodes != 1 ||
        options.request.num_groups != 1 || options.request.co_occurrence > 0 ||
        options.request.time_limit > 0 || options.request.robust == Robust::worst)
        throw UsageError(
            "options of the placement need statistics to place by; give --expert_statistic_path");
    EplbConfig config;
    config.num_slots = num_slots;
    config.layer_updates_per_iter = options.layer_updates_per_iter;
    return described_config(options, std::move(config));
}

int generate(const cli::Output& out, const GenOptions& options) {
    check_gen_options(options);
    if (!options.configs.validate_path.empty())
        return validate_config(options);
    if (!options.configs.convert_path.empty())
        return convert_config(out, options);
    if (options.sweep)
        return print_sweep(out, options);
    std::vector<std::string> files = options.expert_statistic_paths;
    for (const std::string& file : cli::files_of(options.statistics))
        files.push_back(file);
    files.push_back(options.current);
    cli::check_output(options.output_path, files);
    OutputFile output(options.output_path);
    std::optional<OutputFile> report;
    if (!options.report_path.empty()) {
        if (cli::is_same_file(options.report_path, options.output_path))
            throw UsageError(options.report_path +
                             ": cannot be --output_path and --report_path at once");
        files.push_back(options.output_path);
        cli::check_output(options.report_path, files);
        report.emplace(options.report_path);
    }
    ConfigContext context = config_context(options);
    EngineConfig config;
    if (options.expert_statistic_paths.empty()) {
        config = online_config(options);
    } else {
        FittedConfig fitted = fit_config(out, options, context);
        config = std::move(fitted.config);
        if (report)
            report->write(write_table(fitted.report, options.format));
    }
    output.write(engine_text(out, options, config, context));
    output.sync();
    if (report)
        report->commit();
    output.commit();
    return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
    GenOptions options;
    options.command_line.assign(argv + std::min(argc, 1), argv + argc);
    return cli::run_tool(
        {.name = "eplb-gen",
         .description = "Generate the placement of a Mixture-of-Experts model's experts on slots, "
                        "as the config that TensorRT-LLM, SGLang, vllm-ascend or HYGON's vLLM "
                        "loads.",
         .add_options = [&](CLI::App& app) { add_gen_options(app, options); },
         .run = [&](const cli::Output& out) { return generate(out, options); }},
        argc, argv);
}
