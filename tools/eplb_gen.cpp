#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/configs/eplb_config.h"
#include "lib/formats/statistics/trtllm_cooccurrence.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/model/expert_size.h"
#include "lib/placement/plan/planner.h"
#include "lib/placement/plan/sweep.h"
#include "lib/placement/route/traffic.h"
#include "lib/report/views/plan_table.h"
#include "tools/gen_options.h"
#include "tools/gen_summary.h"
#include "tools/gen_update.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"
#include "tools/terminal.h"
#include "tools/tool.h"

namespace {

using namespace eplb;

// The statistics that a plan is fitted to, and what Workload points into.
struct Inputs {
    std::vector<ExpertStatistics> statistics;
    // The same as recorded, where layers were left out of them; else empty.
    std::vector<ExpertStatistics> recorded;
    std::vector<ExpertCooccurrence> cooccurrence;  // [statistics], or none
    std::optional<cli::RecordedUnder> under;       // of the first

    std::vector<Workload> workloads(const std::vector<double>& weights) const {
        std::vector<Workload> workloads;
        for (std::size_t i = 0; i < statistics.size(); ++i)
            workloads.push_back({&statistics[i], weights.empty() ? 1.0 : weights[i],
                                 cooccurrence.empty() ? nullptr : &cooccurrence[i]});
        return workloads;
    }
};

void check_ids(const ExpertStatistics& statistics, const std::string& path) {
    if (statistics.ids == IdKind::slot)
        throw Error(path +
                    (statistics.layer_updates_per_iter > 0
                         ? ": holds the slot ids of a run with online EPLB, whose experts moved; "
                           "record without layer_updates_per_iter to generate a placement"
                         : ": holds the slot ids of a run with EPLB, not experts; give the "
                           "yaml that was in force with --load_balancer"));
}

void check_alike(const ExpertStatistics& statistics,
                 const std::string& path,
                 const ExpertStatistics& first,
                 const std::string& first_path) {
    const auto differ = [&](const std::string& what) {
        throw Error(path + ": has other " + what + " than " + first_path +
                    "; workloads of one model share them");
    };
    if (statistics.num_experts != first.num_experts)
        differ("experts (" + std::to_string(statistics.num_experts) + ", not " +
               std::to_string(first.num_experts) + ")");
    if (statistics.top_k != first.top_k && statistics.top_k > 0 && first.top_k > 0)
        differ("experts per token");
    if (statistics.layers != first.layers)
        differ("layers");
}

ExpertCooccurrence read_cooccurrence(const std::string& path,
                                     const cli::StatisticsOptions& options,
                                     ThreadPool& threads) {
    const std::string remedy =
        ": says nothing of which experts a token takes together; record a folder with routed ids "
        "(eplb-collect --raw)";
    if (path == "-")
        throw Error("standard input" + remedy);
    if (!cli::is_folder(path))
        throw Error(path + remedy);
    std::optional<ExpertCooccurrence> cooccurrence = read_trtllm_cooccurrence(
        path, {.iter_start = options.iter_start, .iter_stop = options.iter_stop}, threads);
    if (!cooccurrence)
        throw Error(path + remedy);
    return std::move(*cooccurrence);
}

Inputs read_inputs(const cli::Output& out, const GenOptions& options, ThreadPool& threads) {
    Inputs inputs;
    // the upstream algorithms look at sums alone
    const cli::Sources sources =
        is_search(options.request.algorithm) ? cli::Sources::kept : cli::Sources::summed;
    cli::StatisticsOptions reading = options.statistics;
    reading.may_hold_experts = options.expert_statistic_paths.size() > 1;
    for (const std::string& path : options.expert_statistic_paths) {
        inputs.statistics.push_back(
            cli::load_statistics(out, path, reading, sources, threads,
                                 inputs.statistics.empty() ? &inputs.under : nullptr));
        check_ids(inputs.statistics.back(), path);
        check_alike(inputs.statistics.back(), path, inputs.statistics.front(),
                    options.expert_statistic_paths.front());
        if (options.needs_cooccurrence())
            inputs.cooccurrence.push_back(read_cooccurrence(path, options.statistics, threads));
    }
    return inputs;
}

int ep_size_of(const GenOptions& options,
               const Inputs& inputs,
               const std::optional<EngineConfig>& current) {
    if (!options.ep_size.empty())
        return options.ep_size.front();
    if (current && current->ep_size > 0)
        return current->ep_size;
    if (inputs.statistics.front().has_unknown_sources)
        throw UsageError(options.expert_statistic_paths.front() +
                         ": does not say on how many ranks it was recorded; give --ep_size");
    return inputs.statistics.front().ep_size;
}

PlanRequest complete_request(const GenOptions& options,
                             const Inputs& inputs,
                             const std::optional<EngineConfig>& current) {
    PlanRequest request = options.request;
    request.ep_size = ep_size_of(options, inputs, current);
    if (!options.num_slots.empty())
        request.num_slots = options.num_slots.front();
    else if (current)
        request.num_slots = current->config.num_slots;
    else
        request.num_slots = inputs.under
                                ? inputs.under->config.num_slots
                                : inputs.statistics.front().num_experts * request.min_replicas;
    return request;
}

void check_request(const PlanRequest& request, int num_experts) {
    if (request.num_slots < num_experts)
        throw UsageError("num_slots " + std::to_string(request.num_slots) + " is below the " +
                         std::to_string(num_experts) +
                         " experts of the statistics; if these were recorded with EPLB on, their "
                         "ids are slots: give the yaml that was in force with --load_balancer");
    check_plan_request(request, num_experts);
}

Plan plan_with_progress(const std::vector<Workload>& workloads,
                        const PlanRequest& request,
                        ThreadPool& threads) {
    cli::ProgressLine line;
    return make_plan(
        workloads, request,
        {.predict = true,
         .progress =
             [&](int done, int total) {
                 line.show("layer " + std::to_string(done) + " of " + std::to_string(total));
             }},
        threads);
}

// Ranks and nodes that a token is sent to, a mean over tokens, layers and workloads.
TokenTraffic traffic_of(const GenOptions& options,
                        const Inputs& inputs,
                        const PlanRequest& request,
                        const Plan& plan) {
    TokenTraffic sum;
    for (std::size_t i = 0; i < inputs.statistics.size(); ++i) {
        const std::optional<RoutedIds> routed = read_trtllm_routed_ids(
            options.expert_statistic_paths[i],
            inputs.recorded.empty() ? inputs.statistics[i] : inputs.recorded[i]);
        if (!routed)
            continue;
        for (std::size_t layer = 0; layer < plan.layers.size(); ++layer) {
            const TokenTraffic traffic = expected_traffic(
                *routed, static_cast<int>(layer), plan.layers[layer].placement, request.num_nodes);
            sum.num_tokens += traffic.num_tokens;
            sum.num_ranks += traffic.num_ranks;
            sum.num_nodes += traffic.num_nodes;
        }
    }
    return sum;
}

// What --co_occurrence changes, against the plan without it.
void print_co_occurrence(const cli::Output& out,
                         const GenOptions& options,
                         const Inputs& inputs,
                         const std::vector<Workload>& workloads,
                         const PlanRequest& request,
                         const Plan& plan,
                         ThreadPool& threads) {
    if (std::none_of(plan.layers.begin(), plan.layers.end(),
                     [](const auto& layer) { return layer.algorithm == Algorithm::risk; })) {
        out.warn(
            "--co_occurrence changed nothing: it goes with risk, which no layer was placed "
            "by");
        return;
    }
    PlanRequest plain = request;
    plain.co_occurrence = 0;
    plain.time_limit = 0;
    const Plan without = plan_with_progress(workloads, plain, threads);
    const TokenTraffic traffic = traffic_of(options, inputs, request, plan);
    const TokenTraffic before = traffic_of(options, inputs, request, without);
    const auto text = [](double value) { return cli::formatted("%.3f", value); };
    std::string line = "without --co_occurrence: imbalance ratio " +
                       text(planned_imbalance(without)) + ", not " + text(planned_imbalance(plan));
    if (traffic.num_tokens > 0) {
        line += "; a token is sent to " + text(before.ranks_per_token()) + " ranks, not " +
                text(traffic.ranks_per_token());
        if (request.num_nodes > 1)
            line += ", and to " + text(before.nodes_per_token()) + " nodes, not " +
                    text(traffic.nodes_per_token());
    }
    out.note(line);
}

// The plan of the fewest slots whose imbalance is at most what was asked for; sets num_slots.
Plan plan_fewest_slots(const cli::Output& out,
                       const GenOptions& options,
                       const std::vector<Workload>& workloads,
                       PlanRequest& request,
                       ThreadPool& threads) {
    const int num_experts = workloads.front().statistics->num_experts;
    std::vector<int> candidates = options.num_slots;
    std::sort(candidates.begin(), candidates.end());
    if (candidates.empty())
        candidates = slot_candidates(request, num_experts);
    double best = 0;
    int best_num_slots = 0;
    for (const int num_slots : candidates) {
        if (!is_possible(request, request.ep_size, num_slots, num_experts))
            continue;
        request.num_slots = num_slots;
        Plan plan = plan_with_progress(workloads, request, threads);
        const double imbalance = planned_imbalance(plan);
        out.note(std::to_string(num_slots) +
                 " slots: " + (plan.basis == PredictionBasis::none ? "fitted " : "predicted ") +
                 cli::formatted("%.3f", imbalance));
        if (imbalance <= *options.max_imbalance)
            return plan;
        if (best_num_slots == 0 || imbalance < best) {
            best = imbalance;
            best_num_slots = num_slots;
        }
    }
    if (best_num_slots == 0) {
        request.num_slots = candidates.front();
        check_request(request, num_experts);  // says why it cannot be
    }
    throw GateError("no num_slots up to " + std::to_string(candidates.back()) +
                    " reaches --max_imbalance " + cli::formatted("%.6g", *options.max_imbalance) +
                    "; the best is " + cli::formatted("%.3f", best) + " with " +
                    std::to_string(best_num_slots));
}

void fill_layers(const cli::Output& out,
                 const std::vector<int>& layers,
                 int num_experts,
                 int ep_size,
                 EplbConfig& config) {
    for (const int layer : layers) {
        const bool filled =
            config.initial_global_assignments
                .try_emplace(
                    layer,
                    default_placement(num_experts, ep_size, config.num_slots / ep_size).expert_ids)
                .second;
        out.note("layer " + std::to_string(layer) +
                 (filled ? " gets the engine's default assignment"
                         : " is in the statistics; its placement comes from them"));
    }
}

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

// 0: not known. Error: the model's config.json does not tell.
double bytes_per_expert_of(const GenOptions& options) {
    if (options.bytes_per_expert > 0 || !options.statistics.model_config.is_given())
        return options.bytes_per_expert;
    const ModelJson& model = options.statistics.model_config.json();
    try {
        return expert_bytes(model);
    } catch (const Error& error) {
        throw Error(std::string(error.what()) + "; give --bytes_per_expert instead");
    }
}

// The same, 0 with a warning where the model's config.json does not tell: it may be there for its
// layers alone.
double known_bytes_per_expert(const cli::Output& out, const GenOptions& options) {
    try {
        return bytes_per_expert_of(options);
    } catch (const Error& error) {
        out.warn(std::string(error.what()) + "; moves are not given in bytes");
        return 0;
    }
}

// The config in force, if one is named. Sets what `context` lacks and the statistics, or the
// config, tell.
std::optional<EngineConfig> read_in_force(const cli::Output& out,
                                          const GenOptions& options,
                                          const Inputs& inputs,
                                          ConfigContext& context) {
    const ExpertStatistics& first = inputs.statistics.front();
    context.num_experts = first.num_experts;
    if (context.num_hidden_layers == 0)
        context.num_hidden_layers = first.num_hidden_layers;
    if (context.moe_layers.empty() && first.has_all_moe_layers)
        context.moe_layers = first.layers;
    std::optional<EngineConfig> current;
    if (!options.current.empty())
        current = read_current(out, options, context);
    if (context.num_hidden_layers == 0 && current)
        context.num_hidden_layers = current->num_hidden_layers;
    if (context.model_key.empty() && current)
        context.model_key = current->model_key;
    context.ep_size = ep_size_of(options, inputs, current);
    return current;
}

// Layers that the config to be written has no place for: nothing is spent on them. They are the
// last ones, so that positions of layers stay as they were.
void leave_out_mtp_layers(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context,
                          Inputs& inputs) {
    const std::vector<int> left_out = mtp_layers(options, context);
    for (std::size_t i = 0; i < inputs.statistics.size(); ++i) {
        std::vector<int> kept = inputs.statistics[i].layers;
        std::erase_if(kept, [&](int layer) {
            return std::find(left_out.begin(), left_out.end(), layer) != left_out.end();
        });
        if (kept.size() == inputs.statistics[i].layers.size())
            continue;
        if (inputs.recorded.empty()) {
            inputs.recorded = inputs.statistics;
            note_left_out(out, inputs.statistics[i].layers.back());
        }
        keep_layers(inputs.statistics[i], kept, options.expert_statistic_paths[i]);
    }
}

struct Fitted {
    Plan plan;
    std::vector<LayerUpdate> updates;  // [layers], where there is something in force
};

// Sets num_slots of the request where it is to be found.
Fitted fit(const cli::Output& out,
           const GenOptions& options,
           const std::vector<Workload>& workloads,
           const std::optional<EngineConfig>& current,
           PlanRequest& request,
           ThreadPool& threads) {
    if (options.max_imbalance)
        return {plan_fewest_slots(out, options, workloads, request, threads), {}};
    const ExpertStatistics& first = *workloads.front().statistics;
    check_request(request, first.num_experts);
    if (!current)
        return {plan_with_progress(workloads, request, threads), {}};
    const UpdateRequest update = {options.current,
                                  current_placements(out, current->config, options.current,
                                                     first.layers, first.num_experts, request),
                                  options.max_moves};
    Fitted fitted = {plan_with_progress(workloads, request, threads), {}};
    fitted.updates = update_plan(workloads, request, update, threads, fitted.plan);
    return fitted;
}

EplbConfig config_of(const cli::Output& out,
                     const GenOptions& options,
                     const Plan& plan,
                     const ExpertStatistics& statistics,
                     const std::optional<EngineConfig>& current,
                     const PlanRequest& request) {
    EplbConfig config;
    config.num_slots = request.num_slots;
    config.layer_updates_per_iter = options.layer_updates_per_iter;
    for (std::size_t i = 0; i < plan.layers.size(); ++i)
        config.initial_global_assignments[statistics.layers[i]] =
            plan.layers[i].placement.expert_ids;
    std::vector<int> layers_to_fill = options.fill_layers;
    if (current)
        keep_other_layers(out, current->config, config, layers_to_fill);
    fill_layers(out, layers_to_fill, statistics.num_experts, request.ep_size, config);
    return config;
}

// Sets what `context` lacks and the statistics tell.
EngineConfig fitted_config(const cli::Output& out,
                           const GenOptions& options,
                           std::optional<OutputFile>& report,
                           ConfigContext& context) {
    ThreadPool threads(options.statistics.num_threads);
    Inputs inputs = read_inputs(out, options, threads);
    const std::optional<EngineConfig> current = read_in_force(out, options, inputs, context);
    require_model_layers(options, context);
    leave_out_mtp_layers(out, options, context, inputs);
    const std::vector<Workload> workloads = inputs.workloads(options.weights);
    const ExpertStatistics& first = inputs.statistics.front();
    const double bytes_per_expert = current ? known_bytes_per_expert(out, options) : 0;
    PlanRequest request = complete_request(options, inputs, current);
    if (request.algorithm == Algorithm::deepseek && request.num_groups % request.num_nodes != 0)
        out.note("num_groups " + std::to_string(request.num_groups) +
                 " is no multiple of num_nodes " + std::to_string(request.num_nodes) +
                 ": groups and nodes are left out of account");

    const auto [plan, updates] = fit(out, options, workloads, current, request, threads);
    EplbConfig config = config_of(out, options, plan, first, current, request);
    print_summary({out, inputs.statistics, options.expert_statistic_paths, request, plan,
                   inputs.under, options.max_moves.has_value()});
    if (request.co_occurrence > 0)
        print_co_occurrence(out, options, inputs, workloads, request, plan, threads);
    Table table = plan_table(plan, first.layers);
    if (current) {
        print_update(out, updates, plan, first.layers, bytes_per_expert);
        add_update_columns(updates, bytes_per_expert, table);
    }
    if (report)
        report->write(write_table(table, options.format));
    return described_config(options, request, plan, first, std::move(config));
}

int print_sweep(const cli::Output& out, const GenOptions& options) {
    if (options.expert_statistic_paths.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a file, or -");
    ThreadPool threads(options.statistics.num_threads);
    const double bytes_per_expert = bytes_per_expert_of(options);
    const Inputs inputs = read_inputs(out, options, threads);
    std::vector<SweepRow> rows;
    {
        cli::ProgressLine line;
        rows = sweep(
            inputs.workloads(options.weights), options.request, options.ep_size, options.num_slots,
            bytes_per_expert,
            [&](int done, int total) {
                line.show("deployment " + std::to_string(done) + " of " + std::to_string(total));
            },
            threads);
    }
    OutputFile output("-");
    output.write(write_table(sweep_table(rows, bytes_per_expert > 0), options.format));
    output.commit();
    out.note(std::string("the imbalance is ") +
             (rows.front().is_prediction
                  ? "predicted on what was not fitted to"
                  : "that of the counts fitted to, no prediction: record iterations"));
    out.note(
        "speedup is that of the experts' computation against the engine's default assignment "
        "with the fewest slots; * saves at least 1 % of its time for the slots it takes");
    return cli::kDone;
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
    const EngineConfig config = options.expert_statistic_paths.empty()
                                    ? online_config(options)
                                    : fitted_config(out, options, report, context);
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
