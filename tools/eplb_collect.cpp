#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
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
        ->capture_default_str();
    app.add_option(
           "--dataset", options.dataset,
           "Requests as TensorRT-LLM's dataset.json (one JSON object with \"input_ids\" per "
           "line); by default synthetic traffic without end")
        ->type_name("FILE");
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
            ->type_name("FILE");
    app.add_option(cli::flag("extra_llm_api_options"), options.extra_llm_api_options,
                   "TensorRT-LLM's options file: load_balancer and max_num_tokens of its "
                   "moe_config")
        ->type_name("FILE")
        ->excludes(load_balancer);
    app.add_option(cli::flag("expert_statistic_path"), options.expert_statistic_path,
                   "Where the statistics go: a folder, or - for a stream on standard output; "
                   "before EXPERT_STATISTIC_PATH")
        ->type_name("PATH");
    app.add_option(cli::flag("iter_range"), options.iter_range,
                   "Iterations to record, half open; before EXPERT_STATISTIC_ITER_RANGE")
        ->type_name("A-B");
    app.add_flag("--raw", options.raw, "Record the routed ids too (folders only)");
    app.add_flag("--check", options.check,
                 "Compare every layer's output with a direct evaluation, token by token");
    cli::add_threads_option(app, options.num_threads);
    app.footer(
        "Under EPLB the statistics count slots, as the engine's do; without it slots are experts.\n"
        "Without a path and a range nothing is recorded.\n"
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
    std::optional<cli::IterationRange> range;  // none: the whole run
};

Recording resolve_recording(const CollectOptions& options) {
    const char* const env_path = std::getenv("EXPERT_STATISTIC_PATH");
    const char* const env_range = std::getenv("EXPERT_STATISTIC_ITER_RANGE");
    Recording recording;
    if (!options.iter_range.empty())
        recording.range = cli::parse_iteration_range(options.iter_range, "--iter_range");
    else if (env_range != nullptr)
        recording.range = cli::parse_iteration_range(env_range, "EXPERT_STATISTIC_ITER_RANGE");
    if (!options.expert_statistic_path.empty())
        recording.path = options.expert_statistic_path;
    else if (recording.range)
        recording.path = env_path != nullptr ? env_path : "expert_statistic";
    return recording;
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

Harness::Options harness_options(const CollectOptions& options, const Preset& preset) {
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

std::string text(const char* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return buffer;
}

// Imbalance over ranks, averaged over layers and iterations.
class ImbalanceLog {
  public:
    explicit ImbalanceLog(const std::vector<int>& layers) : layers_(layers), sums_(layers.size()) {}

    void add(const std::vector<double>& layer_imbalance) {
        for (std::size_t i = 0; i < sums_.size(); ++i)
            sums_[i] += layer_imbalance[i];
        ++num_iterations_;
    }

    double average() const {
        double sum = 0;
        for (const double layer : sums_)
            sum += layer;
        return sum / static_cast<double>(sums_.size()) / num_iterations_;
    }

    std::string worst_layer() const {
        const auto worst = std::max_element(sums_.begin(), sums_.end()) - sums_.begin();
        return "layer " + std::to_string(layers_[static_cast<std::size_t>(worst)]) +
               text(": %.3f", sums_[static_cast<std::size_t>(worst)] / num_iterations_);
    }

    void clear() { *this = ImbalanceLog(layers_); }

  private:
    std::vector<int> layers_;
    std::vector<double> sums_;  // [layers]
    int num_iterations_ = 0;
};

// One line that is written over and over, on a terminal only.
class ProgressLine {
  public:
    ~ProgressLine() { clear(); }

    void show(const std::string& line) {
        if (on_terminal_)
            std::cerr << '\r' << line << "\x1b[K" << std::flush;
        shown_ = true;
    }

    void clear() {
        if (on_terminal_ && shown_)
            std::cerr << "\r\x1b[K" << std::flush;
        shown_ = false;
    }

  private:
    bool on_terminal_ = ::isatty(STDERR_FILENO) != 0;
    bool shown_ = false;
};

void stop_at_signals() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one ends the run at once
    for (const int signal : {SIGINT, SIGTERM})
        ::sigaction(signal, &action, nullptr);
}

// What is being written is finished first.
void ignore_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        std::signal(signal, SIG_IGN);
}

void print_stage_times(const CLI::App& app, const StageTimes& times) {
    static constexpr const char* kNames[] = {"embed",   "route",   "count",       "dispatch",
                                             "experts", "combine", "move_weights"};
    double total = 0;
    for (const double seconds : times.seconds)
        total += seconds;
    std::string line = "time in";
    for (std::size_t i = 0; i < times.seconds.size(); ++i)
        if (times.seconds[i] > 0)
            line += std::string(i == 0 ? " " : ", ") + kNames[i] +
                    text(" %.2f %%", 100 * times.seconds[i] / total);
    cli::note(app, line);
}

int collect(const CLI::App& app, const CollectOptions& options) {
    const Recording recording = resolve_recording(options);
    const Preset preset = resolve_preset(options);
    const Harness::Options resolved = harness_options(options, preset);
    if (options.raw && recording.path == "-")
        throw UsageError("--raw needs a folder; a stream holds counts only");
    const std::int64_t num_iterations = options.iterations > 0 ? options.iterations
                                        : recording.range      ? recording.range->stop
                                                               : kDefaultIterations;
    const cli::IterationRange range =
        recording.range.value_or(cli::IterationRange{0, num_iterations});
    const std::unique_ptr<TokenSource> source =
        make_token_source(options, resolved.ep_size, preset.model.vocab_size);

    ThreadPool threads(options.num_threads);
    CpuBackend backend(threads);
    const MoeModelConfig& model_config = preset.model;
    stop_at_signals();
    std::optional<Recorder> recorder;
    if (!recording.path.empty()) {
        ExpertStatistics shape;
        shape.num_experts =
            resolved.config ? resolved.config->num_slots : model_config.router.num_experts;
        shape.top_k = model_config.router.top_k;
        shape.ep_size = resolved.ep_size;
        shape.layers = model_config.layers;
        shape.iter_start = range.start;
        shape.ids = resolved.config ? IdKind::slot : IdKind::expert;
        shape.layer_updates_per_iter =
            resolved.config ? resolved.config->layer_updates_per_iter : 0;
        recorder.emplace(shape, range.stop, recording.path, options.raw);
    }

    const SyntheticModel model(preset, options.seed, threads);
    Harness harness(model, resolved, backend, threads);
    cli::note(app, model_config.name + " (synthetic, hidden size " +
                       std::to_string(model_config.hidden_size) +
                       "): " + std::to_string(model_config.num_layers()) + " MoE layers, " +
                       std::to_string(model_config.router.num_experts) + " experts, top-" +
                       std::to_string(model_config.router.top_k) + ", " +
                       std::to_string(harness.num_slots()) + " slots on " +
                       std::to_string(resolved.ep_size) + " ranks");

    if (!recorder)
        cli::note(app,
                  "nothing is recorded: give --expert_statistic_path, or set "
                  "EXPERT_STATISTIC_ITER_RANGE");
    DirectCheck direct_check(model, threads);
    Harness::LayerObserver observer;
    if (options.check)
        observer = [&](const Harness::LayerTrace& trace) { direct_check.check(trace); };
    ProgressLine progress;
    ImbalanceLog run_log(model_config.layers);
    ImbalanceLog cycle_log(model_config.layers);
    std::int64_t num_moved_slots = 0;
    std::int64_t iteration = 0;
    bool out_of_data = false;
    const auto start = std::chrono::steady_clock::now();
    for (; iteration < num_iterations && !interrupted; ++iteration) {
        const IterationTokens tokens = source->next();
        if (tokens.num_tokens() == 0) {
            out_of_data = true;
            break;
        }
        const IterationCounts& counts = harness.run(iteration, tokens, observer);
        if (recorder && recorder->wants(iteration))
            recorder->record(counts, tokens);
        const std::vector<double> imbalance = counts.rank_imbalance();
        run_log.add(imbalance);
        progress.show("iteration " + std::to_string(iteration + 1) + " of " +
                      std::to_string(num_iterations) +
                      text(", average imbalance ratio %.3f", run_log.average()));
        if (harness.balancer() == nullptr)
            continue;
        cycle_log.add(imbalance);
        num_moved_slots += harness.num_moved_slots();
        const int cycle_length = harness.balancer()->plan().cycle_length();
        if ((iteration + 1) % cycle_length == 0 || iteration + 1 == num_iterations) {
            const std::int64_t cycle = iteration / cycle_length;
            const double mib = static_cast<double>(num_moved_slots) *
                               static_cast<double>(model.expert_shape().num_weights()) *
                               sizeof(float) / (1 << 20);
            progress.clear();
            cli::note(app, "cycle " + std::to_string(cycle) + ", iterations " +
                               std::to_string(cycle * cycle_length) + "-" +
                               std::to_string(iteration + 1) +
                               text(": average imbalance ratio %.3f", cycle_log.average()) + ", " +
                               std::to_string(num_moved_slots) + " slots moved" +
                               text(" (%.2f MiB)", mib));
            cycle_log.clear();
            num_moved_slots = 0;
        }
    }
    progress.clear();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

    if (iteration > 0) {
        cli::note(app, std::to_string(iteration) + text(" iterations in %.1f s", seconds) +
                           text("; average imbalance ratio %.3f", run_log.average()) + ", worst " +
                           run_log.worst_layer());
        print_stage_times(app, harness.times());
        cli::note(app, text("expert buffers took %.2f MiB at most",
                            static_cast<double>(harness.peak_expert_buffer_bytes()) / (1 << 20)));
    }
    if (options.check)
        cli::note(app, "checked " + std::to_string(direct_check.num_tokens()) +
                           " tokens of layers: largest difference from a direct evaluation" +
                           text(" %.1e", direct_check.largest_difference()) + ", " +
                           std::to_string(direct_check.num_near_ties()) + " near-ties left out");
    if (recorder) {
        const std::int64_t wanted = range.stop - range.start;
        const std::string cause = interrupted   ? "it was interrupted"
                                  : out_of_data ? "the dataset has no more tokens"
                                                : "--iterations says so";
        const std::string ended =
            "the run ended after " + std::to_string(iteration) + " iterations, since " + cause;
        if (recorder->num_recorded() == 0)
            throw Error("nothing was recorded: " + ended + ", before iteration " +
                        std::to_string(range.start));
        ignore_signals();
        recorder->finish();
        if (recorder->num_recorded() < wanted)
            cli::warn(app, "recorded " + std::to_string(recorder->num_recorded()) + " of " +
                               std::to_string(wanted) + " iterations: " + ended);
        cli::note(app, "iterations " + std::to_string(range.start) + "-" +
                           std::to_string(range.start + recorder->num_recorded()) +
                           " recorded in " +
                           (recording.path == "-" ? "the stream" : recording.path));
    }
    return interrupted ? cli::kInterrupted : cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(
        "Run the MoE layers of a model over expert-parallel ranks and record which experts "
        "their tokens are routed to.",
        "eplb-collect");
    CollectOptions options;
    add_options(app, options);
    return cli::run_tool(app, argc, argv, [&] { return collect(app, options); });
}
