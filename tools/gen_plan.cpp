#include "tools/gen_plan.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/engines/config_rules.h"
#include "lib/engines/engine.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/placement/plan/fewest_slots.h"
#include "lib/placement/plan/plan_config.h"
#include "lib/placement/plan/plan_summary.h"
#include "lib/placement/plan/sweep.h"
#include "lib/report/views/plan_table.h"
#include "lib/report/views/update_columns.h"
#include "tools/gen_inputs.h"
#include "tools/gen_summary.h"
#include "tools/gen_update.h"
#include "tools/terminal.h"

namespace eplb {
namespace {

PlanRequest complete_request(const GenOptions& options,
                             const GenInputs& inputs,
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
        throw UsageError("--num_slots " + std::to_string(request.num_slots) + " is below the " +
                         std::to_string(num_experts) +
                         " experts of the statistics; if these were recorded with EPLB on, their "
                         "ids are slots: give the yaml that was in force with --load_balancer");
    check_plan_request(request, num_experts);
}

PlanScope with_progress(cli::ProgressLine& line) {
    return {.predict = true, .progress = [&line](int done, int total) {
                line.show("layer " + std::to_string(done) + " of " + std::to_string(total));
            }};
}

Plan plan_with_progress(const std::vector<Workload>& workloads,
                        const PlanRequest& request,
                        ThreadPool& threads) {
    cli::ProgressLine line;
    return make_plan(workloads, request, with_progress(line), threads);
}

// A mean over tokens, layers and workloads that have routed ids.
TokenTraffic traffic_of(const GenOptions& options,
                        const GenInputs& inputs,
                        int num_nodes,
                        const Plan& plan) {
    TokenTraffic sum;
    for (std::size_t i = 0; i < inputs.statistics.size(); ++i) {
        const std::optional<RoutedIds> routed = read_trtllm_routed_ids(
            options.expert_statistic_paths[i],
            inputs.recorded.empty() ? inputs.statistics[i] : inputs.recorded[i]);
        if (routed)
            sum += expected_traffic(*routed, plan, num_nodes);
    }
    return sum;
}

// What --co_occurrence changes, against the plan without it.
void print_co_occurrence(const cli::Output& out,
                         const GenOptions& options,
                         const GenInputs& inputs,
                         const std::vector<Workload>& workloads,
                         const PlanRequest& request,
                         const Plan& plan,
                         ThreadPool& threads) {
    if (std::none_of(plan.layers.begin(), plan.layers.end(), [](const auto& layer) {
            return objective_of(layer.algorithm) != Objective::aggregated;
        })) {
        out.warn(
            "--co_occurrence changed nothing: it goes with risk and samples, which no layer was "
            "placed by");
        return;
    }
    PlanRequest plain = request;
    plain.co_occurrence = 0;
    plain.time_limit = 0;
    const Plan without = plan_with_progress(workloads, plain, threads);
    const TokenTraffic traffic = traffic_of(options, inputs, request.num_nodes, plan);
    const TokenTraffic before = traffic_of(options, inputs, request.num_nodes, without);
    const auto text = [](double value) { return formatted("%.3f", value); };
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

// Sets num_slots.
Plan fewest_slots(const cli::Output& out,
                  const GenOptions& options,
                  const std::vector<Workload>& workloads,
                  PlanRequest& request,
                  ThreadPool& threads) {
    const int num_experts = workloads.front().statistics->num_experts;
    std::vector<int> candidates = options.num_slots;
    std::sort(candidates.begin(), candidates.end());
    if (candidates.empty())
        candidates = slot_candidates(request, request.ep_size, num_experts);
    cli::ProgressLine line;
    FewestSlots found = plan_fewest_slots(
        workloads, request, candidates, *options.max_imbalance, with_progress(line),
        [&](int num_slots, const Plan& plan) {
            line.clear();
            out.note(std::to_string(num_slots) +
                     " slots: " + (plan.basis == PredictionBasis::none ? "fitted " : "predicted ") +
                     formatted("%.3f", planned_imbalance(plan)));
        },
        threads);
    request.num_slots = found.num_slots;
    if (found.is_enough)
        return std::move(found.plan);
    if (found.num_slots == 0) {
        request.num_slots = candidates.front();
        check_request(request, num_experts);  // says why it cannot be
    }
    throw GateError("no num_slots up to " + std::to_string(candidates.back()) +
                    " reaches --max_imbalance " + formatted("%.6g", *options.max_imbalance) +
                    "; the best is " + formatted("%.3f", found.imbalance) + " with " +
                    std::to_string(found.num_slots));
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
        return {fewest_slots(out, options, workloads, request, threads), {}};
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

// With the layers that the statistics say nothing of.
EplbConfig whole_config(const cli::Output& out,
                        const GenOptions& options,
                        const Plan& plan,
                        const ExpertStatistics& statistics,
                        const std::optional<EngineConfig>& current,
                        int ep_size) {
    EplbConfig config = config_of(plan, statistics.layers);
    config.layer_updates_per_iter = options.layer_updates_per_iter;
    std::vector<int> kept;
    if (current)
        kept = keep_other_layers(current->config, config);
    if (!kept.empty())
        out.note(layers_text(kept) + (kept.size() == 1 ? " keeps its" : " keep their") +
                 " placement: the statistics say nothing of " + (kept.size() == 1 ? "it" : "them"));
    const std::vector<int> filled =
        fill_layers(options.fill_layers,
                    default_engine().default_placement(statistics.num_experts, ep_size,
                                                       config.num_slots / ep_size),
                    config);
    for (const int layer : options.fill_layers)
        if (!std::ranges::binary_search(kept, layer))
            out.note("layer " + std::to_string(layer) +
                     (std::ranges::binary_search(filled, layer)
                          ? " gets the engine's default assignment"
                          : " is in the statistics; its placement comes from them"));
    return config;
}

// 0 with a warning where the model's config.json does not tell: it may be there for its
// layers alone.
double known_bytes_per_expert(const cli::Output& out, const GenOptions& options) {
    try {
        return bytes_per_expert_of(options);
    } catch (const Error& error) {
        out.warn(std::string(error.what()) + "; moves are not given in bytes");
        return 0;
    }
}

}  // namespace

FittedConfig fit_config(const cli::Output& out, const GenOptions& options, ConfigContext& context) {
    ThreadPool threads(options.statistics.num_threads);
    GenInputs inputs = read_inputs(out, options, threads);
    const std::optional<EngineConfig> current = read_in_force(out, options, inputs, context);
    require_model_layers(options, context);
    leave_out_mtp_layers(out, options, context, inputs);
    const std::vector<Workload> workloads = inputs.workloads(options.weights);
    const ExpertStatistics& first = inputs.statistics.front();
    const double bytes_per_expert = current ? known_bytes_per_expert(out, options) : 0;
    PlanRequest request = complete_request(options, inputs, current);
    if (request.algorithm == Algorithm::deepseek && request.num_groups % request.num_nodes != 0)
        out.note("--num_groups " + std::to_string(request.num_groups) +
                 " is no multiple of --num_nodes " + std::to_string(request.num_nodes) +
                 ": groups and nodes are left out of account");

    const auto [plan, updates] = fit(out, options, workloads, current, request, threads);
    EplbConfig config = whole_config(out, options, plan, first, current, request.ep_size);
    print_summary({out, inputs.statistics, options.expert_statistic_paths, request, plan,
                   inputs.under, options.max_moves.has_value()});
    if (request.co_occurrence > 0)
        print_co_occurrence(out, options, inputs, workloads, request, plan, threads);
    Table table = plan_table(plan, first.layers);
    if (current) {
        print_update(out, summarize(updates, plan), plan, first.layers, bytes_per_expert);
        add_update_columns(updates, bytes_per_expert, table);
    }
    return {described_config(options, request, plan, first, std::move(config)), std::move(table)};
}

}  // namespace eplb
