#include "tools/gen_options.h"

#include <algorithm>

#include "lib/base/error.h"
#include "tools/cli.h"
#include "tools/typed_values.h"

namespace eplb {
namespace {

// "1x32,0.8x4"
std::vector<double> parse_speeds(const std::string& text, const std::string& option) {
    constexpr int kMaxRanks = 1 << 16;
    std::vector<double> speeds;
    for (const std::string& part : cli::split(text)) {
        const std::size_t times = part.find('x');
        const double speed = cli::parse_positive_reals(part.substr(0, times), option).front();
        const int count = times == std::string::npos
                              ? 1
                              : cli::parse_numbers(part.substr(times + 1), option).front();
        if (static_cast<int>(speeds.size()) + count > kMaxRanks)
            throw UsageError(option + ": more than " + std::to_string(kMaxRanks) + " ranks");
        speeds.insert(speeds.end(), static_cast<std::size_t>(count), speed);
    }
    return speeds;
}

void add_deployment_options(CLI::App& app, GenOptions& options) {
    cli::add_parsed(app, "ep_size", options.ep_size, cli::parse_numbers,
                    "Ranks of the deployment; by default those of the recording")
        ->type_name("N");
    cli::add_parsed(
        app, "num_slots", options.num_slots, cli::parse_numbers,
        "Slots over all ranks, a multiple of ep_size; by default one per expert, or those of "
        "--load_balancer")
        ->type_name("N");
    app.add_option(cli::flag("num_nodes"), options.request.num_nodes,
                   "Nodes that the ranks are on: each expert stays on one")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::positive());
    app.add_option(cli::flag("num_groups"), options.request.num_groups,
                   "Expert groups of the model; a multiple of num_nodes keeps each group on one "
                   "node")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::positive());
    cli::add_parsed(app, "gpu_speeds", options.request.rank_speed, parse_speeds,
                    "Speeds of the ranks, any unit, in order: 1x32,0.8x4 is 32 ranks and 4 slower "
                    "ones")
        ->type_name("LIST");
    app.add_flag_callback(
        cli::flag("survive_rank_loss"), [&] { options.request.min_replicas = 2; },
        "Every expert on two ranks at least; takes two slots per expert");
}

void add_search_options(CLI::App& app, GenOptions& options) {
    PlanRequest& request = options.request;
    request.algorithm = Algorithm::automatic;
    cli::add_choice(
        app, "--algorithm", request.algorithm,
        {{"auto", Algorithm::automatic},
         {"risk", Algorithm::risk},
         {"samples", Algorithm::samples},
         {"aggregated", Algorithm::aggregated},
         {"greedy", Algorithm::greedy},
         {"deepseek", Algorithm::deepseek},
         {"trtllm-cooccurrence", Algorithm::trtllm_cooccurrence}},
        "The hottest rank of unseen iterations, by how loads vary (risk) or by the iterations "
        "themselves (samples), or of the summed load (aggregated), whichever tests better (auto); "
        "or what TensorRT-LLM and DeepSeek's EPLB place");
    cli::add_parsed(app, "weights", options.weights, cli::parse_positive_reals,
                    "How much each workload counts, in their order; by default all the same")
        ->type_name("LIST");
    cli::add_choice(app, "--robust", request.robust,
                    {{"mean", Robust::mean}, {"worst", Robust::worst}},
                    "Of several workloads, what counts");
    app.add_option(
           "--tolerance", request.tolerance,
           "How far risk may leave the summed load above its optimum, as an imbalance ratio")
        ->type_name("R")
        ->capture_default_str()
        ->check(cli::non_negative_real());
    app.add_option(cli::flag("co_occurrence"), request.co_occurrence,
                   "Also lower how many ranks a token is sent to: the imbalance ratio that one "
                   "rank less per routed expert is worth; needs routed ids")
        ->type_name("W")
        ->capture_default_str()
        ->check(cli::non_negative_real());
    app.add_option(cli::flag("imbalance_tolerance"), request.imbalance_tolerance,
                   "How much imbalance ratio --co_occurrence may cost")
        ->type_name("R")
        ->capture_default_str()
        ->check(cli::non_negative_real());
    app.add_option(cli::flag("time_limit"), request.time_limit,
                   "Seconds to search each placement; longer is never worse, but no longer the "
                   "same on every "
                   "run")
        ->type_name("S")
        ->default_str("as long as needed")
        ->check(cli::non_negative_real());
}

void add_capacity_options(CLI::App& app, GenOptions& options) {
    app.add_flag("--sweep", options.sweep,
                 "Compare deployments, lists of --ep_size and --num_slots, in a table on standard "
                 "output; writes nothing else");
    app.add_option(cli::flag("max_imbalance"), options.max_imbalance,
                   "Take the fewest slots that are predicted to reach this imbalance ratio")
        ->type_name("R")
        ->check(cli::non_negative_real());
    app.add_option(cli::flag("bytes_per_expert"), options.bytes_per_expert,
                   "Bytes of one expert's weights in one layer, for the memory in --sweep and what "
                   "--current has to load")
        ->type_name("N")
        ->default_str("not known")
        ->check(cli::non_negative_real());
}

void add_update_options(CLI::App& app, GenOptions& options) {
    app.add_option("--current", options.current,
                   "The config in force: every expert that can stay in its slot does; tells what "
                   "has to be loaded")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.add_option(cli::flag("max_moves"), options.max_moves,
                   "Change the expert of so many slots at most, over all layers: those where it "
                   "is worth most")
        ->type_name("N")
        ->default_str("as many as the best placement takes")
        ->check(cli::non_negative());
}

void add_config_output_options(CLI::App& app, GenConfigOptions& options) {
    cli::add_choice(app, cli::flag("output_format"), options.output_format,
                    cli::config_format_choices(),
                    "Whose config is written; plain is JSON with all that is known");
    app.add_option(cli::flag("num_hidden_layers"), options.num_hidden_layers,
                   "Decoder layers of the model, those without experts too: SGLang's maps have a "
                   "row for each")
        ->type_name("N")
        ->default_str("those of --model_config or the statistics")
        ->check(cli::positive());
}

void add_output_options(CLI::App& app, GenOptions& options) {
    app.add_option("-o," + cli::flag("output_path"), options.output_path,
                   "The config to write; - is standard output")
        ->type_name("FILE")
        ->check(cli::not_empty());
    add_config_output_options(app, options.configs);
    app.add_option(cli::flag("layer_updates_per_iter"), options.layer_updates_per_iter,
                   "Layers that the engine re-places per iteration; 0 is a static placement")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::non_negative());
    cli::add_parsed(app, "fill_layers", options.fill_layers, cli::parse_layer_list,
                    "Layers that the engine runs but the statistics lack, like 61: they get the "
                    "engine's default assignment")
        ->type_name("LIST");
    app.add_option(cli::flag("report_path"), options.report_path,
                   "Where to write what is known of each layer: bound, fit, prediction")
        ->type_name("FILE")
        ->check(cli::not_empty());
    cli::add_format_option(app, options.format, "Format of the report and of the sweep");
}

void add_config_input_options(CLI::App& app, GenConfigOptions& options) {
    app.add_option("--convert", options.convert_path,
                   "Write this config in --output_format, whichever engine it was for")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.add_option("--validate", options.validate_path,
                   "Say whether the engine named by --for would load this config, and why not; "
                   "exit code 3 if not")
        ->type_name("FILE")
        ->check(cli::not_empty());
    std::vector<std::pair<std::string, const Engine*>> engines;
    for (const Engine* const engine : loading_engines())
        engines.emplace_back(engine->name, engine);
    cli::add_choice(app, "--for", options.engine, engines, "The engine of --validate");
}

constexpr const char* kFooter =
    "Without statistics, num_slots and layer_updates_per_iter alone make the config of online\n"
    "balancing.\n"
    "\n"
    "examples:\n"
    "  eplb-gen expert_statistic --ep_size 36 --num_slots 288 -o eplb.yaml\n"
    "  eplb-gen chat code batch --weights 2,1,1 --ep_size 36 --num_slots 288 -o eplb.yaml\n"
    "  eplb-gen expert_statistic --ep_size 32 --num_slots 288 --fill_layers 61 -o eplb.yaml\n"
    "  eplb-gen expert_statistic --sweep --ep_size 32,36,64,72 --num_slots 256,288,320,576 \\\n"
    "      --model_config config.json\n"
    "  eplb-gen expert_statistic --ep_size 32 --max_imbalance 0.1 -o eplb.yaml\n"
    "  eplb-gen expert_statistic --num_nodes 4 --num_groups 8 --num_slots 320 -o eplb.yaml\n"
    "  eplb-gen expert_statistic --algorithm greedy --num_slots 288 -o upstream.yaml\n"
    "  eplb-gen recorded_with_eplb --load_balancer old.yaml --num_slots 288 -o new.yaml\n"
    "  eplb-gen expert_statistic --current eplb.yaml --max_moves 500 -o new.yaml\n"
    "  eplb-gen dump.pt --model_config config.json --ep_size 36 --num_slots 288 \\\n"
    "      --output_format sglang -o map.json\n"
    "  eplb-gen --convert map.json --model_config config.json -o eplb.yaml\n"
    "  eplb-gen --validate map.json --for sglang --model_config config.json --ep_size 36\n"
    "  eplb-gen --num_slots 288 --layer_updates_per_iter 2 -o online.yaml";

void check_lists(const GenOptions& options) {
    const std::size_t num_workloads = options.expert_statistic_paths.size();
    if (!options.weights.empty() && options.weights.size() != num_workloads)
        throw UsageError("--weights: " + std::to_string(options.weights.size()) + " weights for " +
                         std::to_string(num_workloads) + " workloads");
    if (!options.sweep && options.ep_size.size() > 1)
        throw UsageError("--ep_size: a list of them goes with --sweep");
    if (!options.sweep && !options.max_imbalance && options.num_slots.size() > 1)
        throw UsageError("--num_slots: a list of them goes with --sweep or --max_imbalance");
}

void check_search(const GenOptions& options) {
    const bool is_deepseek = options.request.algorithm == Algorithm::deepseek;
    if (!is_search(options.request.algorithm) && !is_deepseek &&
        (options.request.num_nodes != 1 || options.request.num_groups != 1))
        throw UsageError(
            "--num_nodes and --num_groups go with --algorithm auto, risk, samples, aggregated or "
            "deepseek");
    if (!is_search(options.request.algorithm) &&
        (!options.request.rank_speed.empty() || options.request.min_replicas > 1 ||
         options.request.co_occurrence > 0 || options.request.robust == Robust::worst ||
         options.request.time_limit > 0))
        throw UsageError(
            "--gpu_speeds, --survive_rank_loss, --co_occurrence, --robust and --time_limit go "
            "with --algorithm auto, risk, samples or aggregated");
    if (options.request.algorithm == Algorithm::aggregated &&
        (options.request.co_occurrence > 0 || options.request.robust == Robust::worst))
        throw UsageError(
            "--co_occurrence and --robust worst go with --algorithm auto, risk or samples");
    if (options.needs_cooccurrence() && !options.statistics.load_balancer.empty())
        throw UsageError(
            "which experts tokens took together cannot be told from a recording under EPLB; "
            "record without --load_balancer");
}

void check_sweep(const GenOptions& options) {
    if (!options.sweep) {
        if (options.output_path.empty() && options.configs.validate_path.empty())
            throw UsageError("--output_path is required");
        if (options.current.empty() && options.bytes_per_expert > 0)
            throw UsageError("--bytes_per_expert goes with --sweep or --current");
        return;
    }
    if (!options.output_path.empty() || !options.report_path.empty() || options.max_imbalance ||
        !options.fill_layers.empty())
        throw UsageError(
            "--sweep writes one table to standard output; leave out --output_path, "
            "--report_path, --max_imbalance and --fill_layers");
    if (options.ep_size.empty() || options.num_slots.empty())
        throw UsageError("--sweep needs --ep_size and --num_slots, each one number or more");
    if (!options.request.rank_speed.empty())
        throw UsageError("--gpu_speeds are of one deployment; leave them out of --sweep");
}

void check_update(const GenOptions& options) {
    if (options.current.empty()) {
        if (options.max_moves)
            throw UsageError("--max_moves bounds an update: give --current, the config in force");
        return;
    }
    if (options.sweep || options.max_imbalance)
        throw UsageError(
            "--current is of one deployment, whose slots stay; leave out --sweep and "
            "--max_imbalance");
    if (options.expert_statistic_paths.empty())
        throw UsageError(
            "--current is updated to what statistics show; give --expert_statistic_path");
    if (options.max_moves && options.request.co_occurrence > 0)
        throw UsageError(
            "--max_moves looks at imbalance alone; leave out --co_occurrence, or the bound");
}

}  // namespace

void add_gen_options(CLI::App& app, GenOptions& options) {
    cli::add_statistics_paths(app, options.expert_statistic_paths,
                              "one placement that is good on all");
    cli::add_statistics_options(app, options.statistics);
    app.option_defaults()->group("Deployment");
    add_deployment_options(app, options);
    app.option_defaults()->group("Search");
    add_search_options(app, options);
    app.option_defaults()->group("Comparing deployments");
    add_capacity_options(app, options);
    app.option_defaults()->group("Updating a running deployment");
    add_update_options(app, options);
    app.option_defaults()->group("Output");
    add_output_options(app, options);
    app.option_defaults()->group("Configs that are there");
    add_config_input_options(app, options.configs);
    app.footer(kFooter);
    cli::keep_given_options(app, options.given);
}

void check_gen_options(const GenOptions& options) {
    check_lists(options);
    check_search(options);
    check_update(options);
    check_sweep(options);
    check_config_options(options);
    if (std::count(options.expert_statistic_paths.begin(), options.expert_statistic_paths.end(),
                   "-") > 1)
        throw UsageError("standard input holds one workload; name - once");
    for (std::size_t i = 0; i < options.expert_statistic_paths.size(); ++i)
        for (std::size_t k = 0; k < i; ++k)
            if (options.expert_statistic_paths[i] == options.expert_statistic_paths[k])
                throw UsageError(options.expert_statistic_paths[i] +
                                 ": is named twice; a workload that counts more gets a higher "
                                 "--weights");
    cli::check_statistics_options(options.statistics);
}

}  // namespace eplb
