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
    app.add_option(cli::flag("num_slots"), options.request.num_slots,
                   "Slots over all ranks, a multiple of ep_size; by default one per expert")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option("-o," + cli::flag("output_path"), options.output_path,
                   "The yaml to write; - is standard output")
        ->type_name("FILE")
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
        ->type_name("LIST");
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

// imbalance over ranks per layer of experts in order, without replicas; empty where they do not
// divide
std::vector<LoadSummary> summaries_before(const ExpertStatistics& statistics, int ep_size) {
    std::vector<LoadSummary> summaries;
    if (statistics.num_experts % ep_size == 0)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            summaries.push_back(summarize(rank_load(recorded_load(statistics, layer), ep_size)));
    return summaries;
}

void print_summary(const CLI::App& app,
                   const ExpertStatistics& statistics,
                   const PlanRequest& request,
                   const std::vector<Placement>& placements) {
    int before_ranks = request.ep_size;
    if (statistics.num_experts % before_ranks != 0)
        before_ranks = statistics.ep_size;
    const std::vector<LoadSummary> before = summaries_before(statistics, before_ranks);
    std::vector<LoadSummary> after;
    std::size_t worst = 0;
    int num_duplicates = 0;
    for (std::size_t i = 0; i < placements.size(); ++i) {
        after.push_back(summarize(
            rank_load(projected_load(statistics, static_cast<int>(i), placements[i].expert_ids),
                      request.ep_size)));
        if (after[i].imbalance_ratio > after[worst].imbalance_ratio)
            worst = i;
        num_duplicates += num_duplicate_slots(placements[i]);
    }
    cli::note(app, std::to_string(placements.size()) + " layers, " +
                       std::to_string(statistics.num_experts) + " experts in " +
                       std::to_string(request.num_slots) + " slots on " +
                       std::to_string(request.ep_size) + " ranks, fitted to iterations " +
                       std::to_string(statistics.iter_start) + "-" +
                       std::to_string(statistics.iter_stop()));
    std::string line = "average imbalance ratio ";
    if (before.empty())
        line += "not defined before (the experts cannot be spread evenly)";
    else
        line += rounded(average(before).imbalance_ratio) + " before (experts in order on " +
                std::to_string(before_ranks) + " ranks)";
    cli::note(app, line + ", " + rounded(average(after).imbalance_ratio) +
                       " projected on the same iterations");
    line = "worst layer " + std::to_string(statistics.layers[worst]) + ": ";
    if (!before.empty())
        line += rounded(before[worst].imbalance_ratio) + " -> ";
    cli::note(app, line + rounded(after[worst].imbalance_ratio));
    cli::note(app, std::to_string(num_duplicates) +
                       " slots hold an expert that another slot of their rank holds too");
    for (std::size_t i = 0; i < after.size(); ++i) {
        const std::string layer = "layer " + std::to_string(statistics.layers[i]);
        if (after[i].num_iterations == 0)
            cli::warn(app, layer + " has no tokens; its replicas are dealt out evenly");
        else if (after[i].num_empty_iterations > 0)
            cli::warn(app, layer + " has no tokens in " +
                               std::to_string(after[i].num_empty_iterations) +
                               " iterations; they are left out of the imbalance ratio");
    }
}

void check_slots(const ExpertStatistics& statistics, const PlanRequest& request) {
    if (statistics.ids == IdKind::slot)
        throw Error(
            "the statistics hold the slot ids of a run with EPLB, not experts; give the "
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
    const ExpertStatistics statistics = cli::load_statistics(options.statistics, threads);
    PlanRequest request = options.request;
    if (request.ep_size == 0)
        request.ep_size = statistics.ep_size;
    if (request.num_slots == 0)
        request.num_slots = statistics.num_experts;
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
    print_summary(app, statistics, request, placements);
    return config;
}

int generate(const CLI::App& app, const GenOptions& options) {
    if (options.request.algorithm != Algorithm::deepseek &&
        (options.request.num_nodes != 1 || options.request.num_groups != 1))
        throw UsageError("--num_nodes and --num_groups go with --algorithm deepseek");
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
