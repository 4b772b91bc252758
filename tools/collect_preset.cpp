#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "lib/collect/direct_check.h"
#include "lib/collect/harness.h"
#include "lib/model/synthetic.h"
#include "tools/collect.h"
#include "tools/collect_devices.h"
#include "tools/collect_log.h"
#include "tools/collect_recording.h"
#include "tools/tool.h"

namespace eplb::cli {
namespace {

constexpr std::int64_t kDefaultIterations = 30;

// What would fail only after the work.
void check_run(const CollectOptions& options,
               const Recording& recording,
               const Harness::Options& resolved,
               const MoeModelConfig& model,
               std::int64_t first_recorded,
               std::int64_t num_iterations) {
    check_sizes(options, recording, resolved.ep_size, model.router.top_k);
    if (!recording.path.empty() && num_iterations <= first_recorded)
        throw UsageError("--iterations " + std::to_string(num_iterations) +
                         " ends before the recording begins, at iteration " +
                         std::to_string(first_recorded));
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
        model.layers.resize(options.num_layers);
    return preset;
}

Harness::Options harness_options(const Output& out,
                                 const CollectOptions& options,
                                 const Preset& preset) {
    Harness::Options resolved;
    resolved.ep_size = options.ep_size > 0 ? options.ep_size : preset.default_ep_size;
    resolved.keep_ids = options.raw;
    Balancing balancing = read_balancing(out, options, preset.model, resolved.ep_size);
    resolved.config = std::move(balancing.config);
    resolved.max_num_tokens = balancing.max_num_tokens;
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

// What a run does, once it is clear what that is.
struct Work {
    const CollectOptions& options;
    Recording recording;
    Preset preset;
    Harness::Options harness;
    std::int64_t num_iterations = 0;
    IterationRange range;
};

int run(const Output& out, const Work& work, const Device& device) {
    const CollectOptions& options = work.options;
    const Recording& recording = work.recording;
    const MoeModelConfig& config = work.preset.model;
    const int ep_size = work.harness.ep_size;
    const std::unique_ptr<TokenSource> source =
        make_token_source(options, ep_size, config.vocab_size);
    std::optional<Recorder> recorder;
    if (!recording.path.empty())
        open_recorder(out, options, recording_shape(config, work.harness, work.range.start),
                      work.range, recording.path, device.share(ep_size), recorder);
    const SyntheticModel model(work.preset, options.seed, device.threads);
    Harness::Options harness_options = work.harness;
    harness_options.communicator = device.communicator;
    Harness harness(model, harness_options, device.backend, device.threads);
    DirectCheck direct_check(model, device.threads);
    Harness::LayerObserver observer;
    if (options.check)
        observer = [&](const Harness::LayerTrace& trace) { direct_check.check(trace); };

    CollectLog log(out, config, harness, device.backend, work.num_iterations,
                   recording.path == "-" && ::isatty(STDOUT_FILENO) != 0);
    if (!recorder)
        out.note(
            "nothing is recorded: give --expert_statistic_path, or set "
            "EXPERT_STATISTIC_ITER_RANGE");
    stop_at_signals();
    std::int64_t iteration = 0;
    bool interrupted = false;
    std::string cause = "--iterations says so";
    IterationTokens previous;
    const auto finish_one = [&](std::int64_t finished, const IterationTokens& tokens) {
        const IterationCounts& counts = harness.finish();
        const bool is_recorded = recorder && recorder->wants(finished);
        if (is_recorded) {
            const auto start = std::chrono::steady_clock::now();
            recorder->record(counts, tokens);
            log.add_counting(std::chrono::steady_clock::now() - start);
        }
        log.iteration_done(finished, counts, is_recorded);
    };
    for (; iteration < work.num_iterations; ++iteration) {
        IterationTokens tokens = source->next();
        interrupted = device.any_interrupted();
        if (interrupted || tokens.num_tokens() == 0) {
            cause = interrupted ? "it was interrupted" : "the dataset has no more tokens";
            break;
        }
        harness.start(iteration, tokens, observer);
        // a GPU has its next iteration while this one's counts are recorded
        if (iteration > 0)
            finish_one(iteration - 1, previous);
        previous = std::move(tokens);
    }
    if (iteration > 0)
        finish_one(iteration - 1, previous);
    log.run_done(iteration);
    if (options.check)
        out.note("checked " + std::to_string(direct_check.num_tokens()) + " tokens of layers" +
                 (device.group == nullptr ? "" : " of this device") +
                 ": largest difference from a direct evaluation " +
                 formatted("%.1e", direct_check.largest_difference()) + ", " +
                 std::to_string(direct_check.num_near_ties()) + " near-ties left out");
    const std::string how_it_ended =
        "the run ended after " + std::to_string(iteration) + " iterations, since " + cause;
    if (recorder && (recorder->num_recorded() > 0 || !interrupted))
        finish_recording(out, *recorder, recording.path, work.range, log.recorded_imbalance(),
                         how_it_ended);
    else if (recorder)
        out.warn("nothing was recorded: " + how_it_ended);
    return interrupted ? kInterrupted : kDone;
}

}  // namespace

int collect_preset(const Output& out, const CollectOptions& options) {
    Work work = {.options = options,
                 .recording = resolve_recording(options),
                 .preset = resolve_preset(options),
                 .harness = {},
                 .num_iterations = 0,
                 .range = {}};
    work.harness = harness_options(out, options, work.preset);
    work.harness.count = !work.recording.path.empty();
    work.num_iterations = options.iterations > 0 ? options.iterations
                          : work.recording.range ? work.recording.range->stop
                                                 : kDefaultIterations;
    work.range = work.recording.range.value_or(IterationRange{0, work.num_iterations});
    check_run(options, work.recording, work.harness, work.preset.model, work.range.start,
              work.num_iterations);
    return run_on_devices(out, options, work.recording,
                          [&](const Output& device_out, const Device& device) {
                              return run(device_out, work, device);
                          });
}

}  // namespace eplb::cli
