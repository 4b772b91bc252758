#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "lib/collect/direct_check.h"
#include "lib/collect/harness.h"
#include "lib/collect/recorder.h"
#include "lib/formats/eplb_config.h"
#include "lib/model/synthetic.h"
#include "tools/cli.h"
#include "tools/collect_log.h"

namespace {

using namespace eplb;

constexpr std::int64_t kDefaultIterations = 30;

std::atomic<bool> interrupted = false;

struct CollectOptions {
    std::string preset = "deepseek-r1";
    int hidden_size = 0;  // 0, here and below: the preset's
    int intermediate_size = 0;
    int num_layers = 0;
    std::uint64_t seed = 0;
    std::string dataset;
    int ep_size = 0;
    int tokens_per_rank = 128;
    std::int64_t iterations = 0;
    int max_num_tokens = 0;
    std::string load_balancer;
    std::string extra_llm_api_options;
    std::string expert_statistic_path;
    std::string iter_range;
    bool raw = false;
    bool check = false;
    int num_threads = 0;
};

void add_options(CLI::App& app, CollectOptions& options) {
    std::string names;
    for (const Preset& preset : presets())
        names += (names.empty() ? "" : ", ") + preset.model.name;
    app.add_option("--preset", options.preset, "Synthetic model shaped like " + names)
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option(cli::flag("hidden_size"), options.hidden_size,
                   "Hidden size; by default scaled down to 64")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(cli::flag("intermediate_size"), options.intermediate_size,
                   "Width of an expert; by default scaled down to 16")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(cli::flag("num_layers"), options.num_layers, "Only the first N MoE layers")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option("--seed", options.seed, "Of the weights and the synthetic traffic")
        ->type_name("N")
        ->check(cli::id())
        ->capture_default_str();
    app.add_option(
           "--dataset", options.dataset,
           "Requests as TensorRT-LLM's dataset.json (one JSON object with \"input_ids\" per "
           "line); by default synthetic traffic without end")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.add_option(cli::flag("ep_size"), options.ep_size,
                   "Expert-parallel ranks; by default the "
                   "preset's (deepseek-r1: 32)")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(cli::flag("tokens_per_rank"), options.tokens_per_rank,
                   "Tokens that each rank brings to an iteration")
        ->type_name("N")
        ->capture_default_str()
        ->check(cli::positive());
    app.add_option("--iterations", options.iterations,
                   "Iterations to run; by default to the end of --iter_range, or 30")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(cli::flag("max_num_tokens"), options.max_num_tokens,
                   "Tokens of all ranks under way at once; more are cut into chunks, which bounds "
                   "memory and changes no result")
        ->type_name("N")
        ->check(cli::positive());
    CLI::Option* const load_balancer =
        app.add_option(cli::flag("load_balancer"), options.load_balancer,
                       "EPLB yaml: static placement, or online with layer_updates_per_iter > 0")
            ->type_name("FILE")
            ->check(cli::not_empty());
    app.add_option(cli::flag("extra_llm_api_options"), options.extra_llm_api_options,
                   "TensorRT-LLM's options file: load_balancer and max_num_tokens of its "
                   "moe_config")
        ->type_name("FILE")
        ->check(cli::not_empty())
        ->excludes(load_balancer);
    app.add_option(cli::flag("expert_statistic_path"), options.expert_statistic_path,
                   "Where the statistics go: a folder, or - for a stream on standard output; "
                   "overrides EXPERT_STATISTIC_PATH")
        ->type_name("PATH")
        ->check(cli::not_empty());
    app.add_option(cli::flag("iter_range"), options.iter_range,
                   "Iterations A to B - 1 are recorded, by default all; overrides "
                   "EXPERT_STATISTIC_ITER_RANGE")
        ->type_name("A-B")
        ->check(cli::not_empty());
    app.add_flag("--raw", options.raw, "Record the routed ids too (folders only)");
    app.add_flag("--check", options.check,
                 "Compare every layer's output with a direct evaluation, token by token");
    cli::add_threads_option(app, options.num_threads);
    app.footer(
        "Under EPLB the statistics count slots, as the engine's do; without it slots are experts.\n"
        "Without a path or a range nothing is recorded; a range without a path goes to the folder\n"
        "expert_statistic.\n"
        "\n"
        "examples:\n"
        "  eplb-collect --expert_statistic_path expert_statistic --iter_range 10-30\n"
        "  EXPERT_STATISTIC_PATH=stats EXPERT_STATISTIC_ITER_RANGE=10-30 eplb-collect\n"
        "  eplb-collect --ep_size 36 --load_balancer eplb.yaml --expert_statistic_path after\n"
        "  eplb-collect --dataset dataset.json --expert_statistic_path - | eplb-report -\n"
        "  eplb-collect --preset mixtral-8x7b --max_num_tokens 256 --check");
}

// What to record and where; no path: nothing.
struct Recording {
    std::string path;
    std::optional<IterationRange> range;  // none: the whole run
};

Recording resolve_recording(const CollectOptions& options) {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    const std::string env_path = variable("EXPERT_STATISTIC_PATH");
    const std::string env_range = variable("EXPERT_STATISTIC_ITER_RANGE");
    Recording recording;
    if (!options.iter_range.empty())
        recording.range = cli::parse_iteration_range(options.iter_range, "--iter_range");
    else if (!env_range.empty())
        recording.range = cli::parse_iteration_range(env_range, "EXPERT_STATISTIC_ITER_RANGE");
    if (!options.expert_statistic_path.empty())
        recording.path = options.expert_statistic_path;
    else if (recording.range)
        recording.path = env_path.empty() ? "expert_statistic" : env_path;
    return recording;
}

// What would fail only after the work, or overflow in it.
void check_run(const CollectOptions& options,
               const Recording& recording,
               const Harness::Options& resolved,
               const MoeModelConfig& model,
               std::int64_t first_recorded,
               std::int64_t num_iterations) {
    if (options.raw && (recording.path.empty() || recording.path == "-"))
        throw UsageError("--raw needs a folder to record in; a stream holds counts only");
    if (!recording.path.empty() && num_iterations <= first_recorded)
        throw UsageError("--iterations " + std::to_string(num_iterations) +
                         " ends before the recording begins, at iteration " +
                         std::to_string(first_recorded));
    const std::int64_t num_ids =
        static_cast<std::int64_t>(resolved.ep_size) * options.tokens_per_rank * model.router.top_k;
    if (num_ids > INT32_MAX)
        throw UsageError("--ep_size " + std::to_string(resolved.ep_size) + " x --tokens_per_rank " +
                         std::to_string(options.tokens_per_rank) + " x top-" +
                         std::to_string(model.router.top_k) +
                         " is more than an iteration can hold, " + std::to_string(INT32_MAX));
}

Preset resolve_preset(const CollectOptions& options) {
    Preset preset;
    try {
        preset = find_preset(options.preset);
    } catch (const Error& error) {
        throw UsageError(std::string("--preset: ") + error.what());
    }
    MoeModelConfig& model = preset.model;
    if (options.hidden_size > 0)
        model.hidden_size = options.hidden_size;
    if (model.hidden_size < SyntheticModel::kMinHiddenSize)
        throw UsageError("--hidden_size must be at least " +
                         std::to_string(SyntheticModel::kMinHiddenSize));
    if (options.intermediate_size > 0) {
        model.shared_intermediate_size =
            model.shared_intermediate_size / model.intermediate_size * options.intermediate_size;
        model.intermediate_size = options.intermediate_size;
    }
    if (options.num_layers > model.num_layers())
        throw UsageError("--num_layers " + std::to_string(options.num_layers) + ": " + model.name +
                         " has " + std::to_string(model.num_layers()) + " MoE layers");
    if (options.num_layers > 0)
        model.layers.resize(static_cast<std::size_t>(options.num_layers));
    return preset;
}

Harness::Options harness_options(const CLI::App& app,
                                 const CollectOptions& options,
                                 const Preset& preset) {
    Harness::Options resolved;
    resolved.ep_size = options.ep_size > 0 ? options.ep_size : preset.default_ep_size;
    resolved.keep_ids = options.raw;
    const EplbConfigExpectation expectation = {.num_experts = preset.model.router.num_experts,
                                               .ep_size = resolved.ep_size};
    if (!options.load_balancer.empty())
        resolved.config = read_eplb_config(options.load_balancer, expectation);
    if (!options.extra_llm_api_options.empty()) {
        MoeOptions moe = read_moe_options(options.extra_llm_api_options, expectation);
        resolved.max_num_tokens = moe.max_num_tokens;
        if (moe.has_load_balancer)
            resolved.config = std::move(moe.load_balancer);
        else
            cli::note(app, options.extra_llm_api_options +
                               " names no moe_config.load_balancer: this is a run without EPLB");
    }
    if (options.max_num_tokens > 0)
        resolved.max_num_tokens = options.max_num_tokens;
    return resolved;
}

std::unique_ptr<TokenSource> make_token_source(const CollectOptions& options,
                                               int ep_size,
                                               int vocab_size) {
    if (options.dataset.empty())
        return std::make_unique<SyntheticTokens>(SyntheticTraffic(vocab_size, options.seed),
                                                 ep_size, options.tokens_per_rank);
    return std::make_unique<DatasetTokens>(read_dataset(options.dataset, vocab_size), ep_size,
                                           options.tokens_per_rank);
}

// What is recorded. A config's slots are counted where there is one, else experts.
ExpertStatistics recording_shape(const MoeModelConfig& model,
                                 const Harness::Options& options,
                                 std::int64_t iter_start) {
    ExpertStatistics shape;
    shape.num_experts = options.config ? options.config->num_slots : model.router.num_experts;
    shape.top_k = model.router.top_k;
    shape.ep_size = options.ep_size;
    shape.layers = model.layers;
    shape.iter_start = iter_start;
    shape.ids = options.config ? IdKind::slot : IdKind::expert;
    shape.layer_updates_per_iter = options.config ? options.config->layer_updates_per_iter : 0;
    return shape;
}

void stop_at_signals() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends the run at once
    for (const int signal : {SIGINT, SIGTERM})
        ::sigaction(signal, &action, nullptr);
    // under nohup a hang-up is none of our business
    struct sigaction inherited = {};
    if (::sigaction(SIGHUP, nullptr, &inherited) == 0 && inherited.sa_handler != SIG_IGN)
        ::sigaction(SIGHUP, &action, nullptr);
}

// What is being written is finished first.
void ignore_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        std::signal(signal, SIG_IGN);
}

// Writes the recording and says what it holds.
void finish_recording(const CLI::App& app,
                      Recorder& recorder,
                      const std::string& path,
                      const IterationRange& range,
                      double imbalance_ratio,
                      const std::string& how_it_ended) {
    const std::int64_t recorded = recorder.num_recorded();
    if (recorded == 0)
        throw Error("nothing was recorded: " + how_it_ended + ", before iteration " +
                    std::to_string(range.start));
    ignore_signals();
    recorder.finish();
    if (recorded < range.stop - range.start)
        cli::warn(app, "recorded " + std::to_string(recorded) + " of " +
                           std::to_string(range.stop - range.start) +
                           " iterations: " + how_it_ended);
    cli::note(app, "iterations " + std::to_string(range.start) + "-" +
                       std::to_string(range.start + recorded) + " recorded in " +
                       (path == "-" ? "the stream" : path) + ", average imbalance ratio " +
                       cli::formatted("%.3f", imbalance_ratio));
}

int collect(const CLI::App& app, const CollectOptions& options) {
    const Recording recording = resolve_recording(options);
    const Preset preset = resolve_preset(options);
    Harness::Options resolved = harness_options(app, options, preset);
    resolved.count = !recording.path.empty();
    const std::int64_t num_iterations = options.iterations > 0 ? options.iterations
                                        : recording.range      ? recording.range->stop
                                                               : kDefaultIterations;
    const IterationRange range = recording.range.value_or(IterationRange{0, num_iterations});
    check_run(options, recording, resolved, preset.model, range.start, num_iterations);
    const std::unique_ptr<TokenSource> source =
        make_token_source(options, resolved.ep_size, preset.model.vocab_size);

    ThreadPool threads(options.num_threads);
    CpuBackend backend(threads);
    std::optional<Recorder> recorder;
    if (!recording.path.empty() && recording.path != "-" &&
        std::filesystem::exists(std::filesystem::path(recording.path) / "meta_info.json"))
        cli::note(app, "the statistics in " + recording.path + " will be replaced");
    if (!recording.path.empty())
        recorder.emplace(recording_shape(preset.model, resolved, range.start), range.stop,
                         recording.path, options.raw);
    const SyntheticModel model(preset, options.seed, threads);
    Harness harness(model, resolved, backend, threads);
    DirectCheck direct_check(model, threads);
    Harness::LayerObserver observer;
    if (options.check)
        observer = [&](const Harness::LayerTrace& trace) { direct_check.check(trace); };

    cli::CollectLog log(app, preset.model, harness, num_iterations,
                        recording.path == "-" && ::isatty(STDOUT_FILENO) != 0);
    if (!recorder)
        cli::note(app,
                  "nothing is recorded: give --expert_statistic_path, or set "
                  "EXPERT_STATISTIC_ITER_RANGE");
    stop_at_signals();
    std::int64_t iteration = 0;
    std::string cause = "--iterations says so";
    for (; iteration < num_iterations; ++iteration) {
        const IterationTokens tokens = source->next();
        if (interrupted || tokens.num_tokens() == 0) {
            cause = interrupted ? "it was interrupted" : "the dataset has no more tokens";
            break;
        }
        const IterationCounts& counts = harness.run(iteration, tokens, observer);
        const bool is_recorded = recorder && recorder->wants(iteration);
        if (is_recorded) {
            const auto start = std::chrono::steady_clock::now();
            recorder->record(counts, tokens);
            log.add_counting(std::chrono::steady_clock::now() - start);
        }
        log.iteration_done(iteration, counts, is_recorded);
    }
    log.run_done(iteration);
    if (options.check)
        cli::note(app, "checked " + std::to_string(direct_check.num_tokens()) +
                           " tokens of layers: largest difference from a direct evaluation " +
                           cli::formatted("%.1e", direct_check.largest_difference()) + ", " +
                           std::to_string(direct_check.num_near_ties()) + " near-ties left out");
    const std::string how_it_ended =
        "the run ended after " + std::to_string(iteration) + " iterations, since " + cause;
    if (recorder && (recorder->num_recorded() > 0 || !interrupted))
        finish_recording(app, *recorder, recording.path, range, log.recorded_imbalance(),
                         how_it_ended);
    else if (recorder)
        cli::warn(app, "nothing was recorded: " + how_it_ended);
    return interrupted ? cli::kInterrupted : cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
    CollectOptions options;
    return cli::run_tool(
        {.name = "eplb-collect",
         .description = "Run the MoE layers of a model over expert-parallel ranks and record which "
                        "experts their tokens are routed to.",
         .add_options = [&](CLI::App& app) { add_options(app, options); },
         .run = [&](const CLI::App& app) { return collect(app, options); }},
        argc, argv);
}
