#include <cstdio>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/eplb_config.h"
#include "lib/placement/planner.h"
#include "lib/placement/rank_load.h"
#include "lib/report/load_summary.h"
#include "tools/cli.h"

namespace {

using namespace eplb;

struct GenOptions {
    cli::StatisticsOptions statistics;
    PlanRequest request;
    int layer_updates_per_iter = 0;
    std::string fill_layers;
    std::string output_path;
};

void add_options(CLI::App& app, GenOptions& options) {
    cli::add_statistics_options(app, options.statistics);
    app.add_option(cli::flag("ep_size"), options.request.ep_size,
                   "Ranks of the deployment; by default those of the recording")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(
           cli::flag("num_slots"), options.request.num_slots,
           "Slots over all ranks, a multiple of ep_size; by default one per expert, or those of "
           "--load_balancer")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option("-o," + cli::flag("output_path"), options.output_path,
                   "The yaml to write; - is standard output")
        ->type_name("FILE")
        ->check(cli::not_empty())
        ->required();
    app.add_option(cli::flag("layer_updates_per_iter"), options.layer_updates_per_iter,
                   "Layers that the engine re-places per iteration; 0 is a static placement")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::non_negative());
    cli::add_choice<Algorithm>(app, "--algorithm", options.request.algorithm,
                               {{"greedy", Algorithm::greedy}, {"deepseek", Algorithm::deepseek}},
                               "TensorRT-LLM's greedy one or DeepSeek EPLB's");
    app.add_option(cli::flag("num_nodes"), options.request.num_nodes,
                   "Nodes that the ranks are on, for deepseek")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::positive());
    app.add_option(cli::flag("num_groups"), options.request.num_groups,
                   "Expert groups of the model, for deepseek; a multiple of num_nodes keeps each "
                   "group on one node")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::positive());
    app.add_option(cli::flag("fill_layers"), options.fill_layers,
                   "Layers that the engine runs but the statistics lack, like 61: they get the "
                   "engine's default assignment")
        ->type_name("LIST")
        ->check(cli::not_empty());
    app.footer(
        "Without statistics, num_slots and layer_updates_per_iter alone make the config of online\n"
        "balancing.\n"
        "\n"
        "examples:\n"
        "  eplb-gen expert_statistic --ep_size 36 --num_slots 288 -o eplb.yaml\n"
        "  eplb-gen expert_statistic --ep_size 32 --num_slots 288 --fill_layers 61 -o eplb.yaml\n"
        "  eplb-gen expert_statistic --algorithm deepseek --ep_size 16 --num_slots 288 \\\n"
        "      --num_nodes 2 --num_groups 8 -o eplb.yaml\n"
        "  eplb-gen recorded_with_eplb --load_balancer old.yaml --num_slots 288 -o new.yaml\n"
        "  eplb-gen --num_slots 288 --layer_updates_per_iter 2 -o online.yaml");
}

std::string rounded(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", value);
    return text;
}

// What a placement is compared with; empty where nothing is defined.
struct Before {
    std::vector<LoadSummary> layers;
    std::string description;
};

// The recording itself, where it was made under a config; else the experts in order on the ranks.
Before before_placement(const ExpertStatistics& statistics,
                        const PlanRequest& request,
                        const std::optional<cli::RecordedUnder>& under) {
    if (under)
        return {under->layers, "as recorded, with the config in force"};
    for (const int ep_size : {request.ep_size, statistics.ep_size})
        if (statistics.num_experts % ep_size == 0)
            return {cli::recorded_summaries(statistics, ep_size),
                    "with the experts in order on " + std::to_string(ep_size) + " ranks"};
    return {};
}

void print_projection(const CLI::App& app,
                      const ExpertStatistics& statistics,
                      const Before& before,
                      const std::vector<LoadSummary>& after) {
    std::size_t worst = 0;
    int num_worse = 0;
    for (std::size_t i = 0; i < after.size(); ++i) {
        if (after[i].imbalance_ratio > after[worst].imbalance_ratio)
            worst = i;
        if (!before.layers.empty() && after[i].imbalance_ratio > before.layers[i].imbalance_ratio)
            ++num_worse;
    }
    std::string line = "average imbalance ratio ";
    if (!before.layers.empty())
        line += rounded(average(before.layers).imbalance_ratio) + " " + before.description + ", ";
    cli::note(app, line + rounded(average(after).imbalance_ratio) +
                       " projected on the iterations it was fitted to");
    line = "worst projected: layer " + std::to_string(statistics.layers[worst]) + ", " +
           rounded(after[worst].imbalance_ratio);
    if (!before.layers.empty())
        line += " (before: " + rounded(before.layers[worst].imbalance_ratio) + ")";
    if (num_worse > 0)
        line += "; " + std::to_string(num_worse) + " of " + std::to_string(after.size()) +
                " layers get worse";
    cli::note(app, line);
}

void warn_of_empty_iterations(const CLI::App& app,
                              const ExpertStatistics& statistics,
                              const std::vector<LoadSummary>& summaries) {
    for (std::size_t i = 0; i < summaries.size(); ++i) {
        const std::string layer = "layer " + std::to_string(statistics.layers[i]);
        if (summaries[i].num_iterations == 0)
            cli::warn(app, layer + " has no tokens; its replicas are dealt out evenly");
        else if (summaries[i].num_empty_iterations > 0)
            cli::warn(app, layer + " has no tokens in " +
                               std::to_string(summaries[i].num_empty_iterations) +
                               " iterations; they are left out of the imbalance ratio");
    }
}

void print_summary(const CLI::App& app,
                   const ExpertStatistics& statistics,
                   const PlanRequest& request,
                   const std::vector<Placement>& placements,
                   const std::optional<cli::RecordedUnder>& under) {
    std::vector<LoadSummary> after;
    int num_duplicates = 0;
    for (std::size_t i = 0; i < placements.size(); ++i) {
        after.push_back(summarize(
            rank_load(projected_load(statistics, static_cast<int>(i), placements[i].expert_ids),
                      request.ep_size)));
        num_duplicates += num_duplicate_slots(placements[i]);
    }
    cli::note(app, std::to_string(placements.size()) + " layers, " +
                       std::to_string(statistics.num_experts) + " experts in " +
                       std::to_string(request.num_slots) + " slots on " +
                       std::to_string(request.ep_size) + " ranks, fitted to iterations " +
                       std::to_string(statistics.iter_start) + "-" +
                       std::to_string(statistics.iter_stop()));
    print_projection(app, statistics, before_placement(statistics, request, under), after);
    cli::note(app, num_duplicates == 0
                       ? "no rank holds an expert twice"
                       : std::to_string(num_duplicates) + " of " +
                             std::to_string(placements.size() *
                                            static_cast<std::size_t>(request.num_slots)) +
                             " slots are of little use: their rank holds the same expert in "
                             "another slot");
    warn_of_empty_iterations(app, statistics, after);
}

void check_slots(const ExpertStatistics& statistics, const PlanRequest& request) {
    if (statistics.ids == IdKind::slot)
        throw Error(
            statistics.layer_updates_per_iter > 0
                ? "the statistics hold the slot ids of a run with online EPLB, whose experts "
                  "moved; record without layer_updates_per_iter to generate a placement"
                : "the statistics hold the slot ids of a run with EPLB, not experts; give the "
                  "yaml that was in force with --load_balancer");
    if (request.num_slots < statistics.num_experts)
        throw UsageError("num_slots " + std::to_string(request.num_slots) + " is below the " +
                         std::to_string(statistics.num_experts) +
                         " experts of the statistics; if these were recorded with EPLB on, their "
                         "ids are slots: give the yaml that was in force with --load_balancer");
    check_plan_request(request, statistics.num_experts);
}

void fill_layers(const CLI::App& app,
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
        cli::note(app, "layer " + std::to_string(layer) +
                           (filled ? " gets the engine's default assignment"
                                   : " is in the statistics; its placement comes from them"));
    }
}

EplbConfig online_config(const GenOptions& options) {
    if (options.request.num_slots == 0 || options.layer_updates_per_iter == 0)
        throw UsageError(
            "without --expert_statistic_path only online balancing can be configured: give "
            "--num_slots and --layer_updates_per_iter above 0");
    if (!options.fill_layers.empty())
        throw UsageError("--fill_layers needs statistics to add layers to");
    if (options.request.ep_size > 0 && options.request.num_slots % options.request.ep_size != 0)
        throw UsageError("--num_slots " + std::to_string(options.request.num_slots) +
                         " is no multiple of --ep_size " + std::to_string(options.request.ep_size));
    if (options.statistics.iter_start || options.statistics.iter_stop ||
        !options.statistics.load_balancer.empty())
        throw UsageError(
            "--iter_start, --iter_stop and --load_balancer go with statistics; give "
            "--expert_statistic_path");
    EplbConfig config;
    config.num_slots = options.request.num_slots;
    config.layer_updates_per_iter = options.layer_updates_per_iter;
    return config;
}

EplbConfig fitted_config(const CLI::App& app, const GenOptions& options) {
    const std::vector<int> to_fill =
        options.fill_layers.empty() ? std::vector<int>()
                                    : cli::parse_layer_list(options.fill_layers, "--fill_layers");
    ThreadPool threads(options.statistics.num_threads);
    std::optional<cli::RecordedUnder> under;
    const ExpertStatistics statistics = cli::load_statistics(options.statistics, threads, &under);
    PlanRequest request = options.request;
    if (request.ep_size == 0)
        request.ep_size = statistics.ep_size;
    if (request.num_slots == 0)
        request.num_slots = under ? under->num_slots : statistics.num_experts;
    check_slots(statistics, request);

    if (request.num_groups % request.num_nodes != 0)
        cli::note(app, "num_groups " + std::to_string(request.num_groups) +
                           " is no multiple of num_nodes " + std::to_string(request.num_nodes) +
                           ": groups and nodes are left out of account");

    const std::vector<Placement> placements = plan(statistics, request, threads);
    EplbConfig config;
    config.num_slots = request.num_slots;
    config.layer_updates_per_iter = options.layer_updates_per_iter;
    for (std::size_t i = 0; i < placements.size(); ++i)
        config.initial_global_assignments[statistics.layers[i]] = placements[i].expert_ids;
    fill_layers(app, to_fill, statistics.num_experts, request.ep_size, config);
    print_summary(app, statistics, request, placements, under);
    return config;
}

int generate(const CLI::App& app, const GenOptions& options) {
    if (options.request.algorithm != Algorithm::deepseek &&
        (options.request.num_nodes != 1 || options.request.num_groups != 1))
        throw UsageError("--num_nodes and --num_groups go with --algorithm deepseek");
    cli::check_output(options.output_path,
                      {options.statistics.expert_statistic_path, options.statistics.load_balancer});
    OutputFile output(options.output_path);
    const EplbConfig config = options.statistics.expert_statistic_path.empty()
                                  ? online_config(options)
                                  : fitted_config(app, options);
    output.write(format_eplb_config(config));
    output.commit();
    return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
    GenOptions options;
    return cli::run_tool(
        {.name = "eplb-gen",
         .description = "Generate the placement of a Mixture-of-Experts model's experts on slots, "
                        "as the yaml that TensorRT-LLM loads.",
         .add_options = [&](CLI::App& app) { add_options(app, options); },
         .run = [&](const CLI::App& app) { return generate(app, options); }},
        argc, argv);
}
