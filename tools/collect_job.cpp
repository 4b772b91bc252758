#include "tools/collect_job.h"

#include <algorithm>
#include <string>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "tools/collect_recording.h"

namespace eplb::cli {
namespace {

constexpr std::int64_t kDefaultIterations = 30;

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
    return preset;
}

void keep_first_layers(MoeModelConfig& moe, int num_layers, const std::string& model) {
    if (num_layers > moe.num_layers())
        throw UsageError("--num_layers " + std::to_string(num_layers) + ": " + model + " has " +
                         std::to_string(moe.num_layers()) + " MoE layers");
    if (num_layers > 0)
        moe.layers.resize(num_layers);
}

std::vector<std::int64_t> lengths_of(const TokenSchedule& schedule) {
    std::vector<std::int64_t> lengths;
    for (int s = 0; s < schedule.num_sequences(); ++s)
        lengths.push_back(schedule.sequence_begin[s + 1] - schedule.sequence_begin[s]);
    return lengths;
}

// Without a dataset: as many tokens as the options say, or 10,000, in sequences of a usual length.
std::vector<std::int64_t> assumed_lengths(const CollectOptions& options, int ep_size) {
    constexpr std::int64_t kSequence = 4096;
    constexpr std::int64_t kTokens = 10000;
    std::int64_t left =
        options.iterations > 0 ? options.iterations * ep_size * options.tokens_per_rank : kTokens;
    if (left > INT32_MAX)
        throw UsageError("--iterations: a plan for " + std::to_string(left) +
                         " tokens is more than one run can hold");
    std::vector<std::int64_t> lengths;
    for (; left > 0; left -= lengths.back())
        lengths.push_back(std::min(left, kSequence));
    return lengths;
}

std::vector<Request> read_requests(const CollectOptions& options, const MoeModelConfig& moe) {
    std::vector<Request> requests = read_dataset(options.dataset, moe.vocab_size);
    if (options.segment == Segment::output &&
        std::all_of(requests.begin(), requests.end(),
                    [](const Request& r) { return r.output_ids.empty(); }))
        throw Error(options.dataset +
                    ": --segment output: no request has \"output_ids\"; record the answers, or "
                    "count the prompts");
    return requests;
}

// All iterations of a checkpoint's run.
TokenSchedule schedule_for(const Job& job) {
    const CollectOptions& options = job.options;
    const std::int64_t start = job.range().start;
    ScheduleOptions schedule_by = {.ep_size = job.ep_size,
                                   .tokens_per_rank = options.tokens_per_rank,
                                   .segment = options.segment,
                                   .start = start,
                                   .stop = job.num_iterations()};
    // online balancing is carried along from the first iteration on
    if (job.balancing.config && job.balancing.config->layer_updates_per_iter > 0)
        schedule_by.start = 0;
    const std::vector<Request> requests = read_requests(options, job.moe());
    try {
        TokenSchedule schedule = make_schedule(requests, schedule_by);
        if (schedule.first_iteration + static_cast<std::int64_t>(schedule.iterations.size()) <=
            start)
            throw Error("has no token for iteration " + std::to_string(start));
        return schedule;
    } catch (const Error& error) {
        throw Error(options.dataset + ": " + error.what());
    }
}

std::unique_ptr<TokenSource> synthetic_tokens(const Job& job) {
    const CollectOptions& options = job.options;
    const int vocab_size = job.moe().vocab_size;
    if (options.dataset.empty())
        return std::make_unique<SyntheticTokens>(SyntheticTraffic(vocab_size, options.seed),
                                                 job.ep_size, options.tokens_per_rank);
    return std::make_unique<DatasetTokens>(read_dataset(options.dataset, vocab_size), job.ep_size,
                                           options.tokens_per_rank);
}

}  // namespace

std::int64_t Job::num_iterations() const {
    if (preset)
        return options.iterations > 0 ? options.iterations
               : recording.range      ? recording.range->stop
                                      : kDefaultIterations;
    const std::int64_t stop = recording.range ? recording.range->stop : INT64_MAX;
    return options.iterations > 0 ? std::min(stop, options.iterations) : stop;
}

IterationRange Job::range() const {
    return {recording.range ? recording.range->start : 0,
            preset && recording.range ? recording.range->stop : num_iterations()};
}

Job make_job(const Output& out, const CollectOptions& options) {
    Job job(options);
    job.recording = resolve_recording(options);
    if (options.model.empty()) {
        job.preset = resolve_preset(options);
        MoeModelConfig& moe = job.preset->model;
        keep_first_layers(moe, options.num_layers, moe.name);
        job.ep_size = options.ep_size > 0 ? options.ep_size : job.preset->default_ep_size;
        job.balancing = read_balancing(out, options, moe, job.ep_size);
    } else {
        job.checkpoint = read_decoder_config(options.model);
        job.checkpoint_size = checkpoint_size(*job.checkpoint);
        job.ep_size = options.ep_size > 0 ? options.ep_size : 1;
        MoeModelConfig& moe = job.checkpoint->moe;
        job.balancing = read_balancing(out, options, moe, job.ep_size);  // of the whole model
        keep_first_layers(moe, options.num_layers, "the model");
        if (options.dataset.empty() && !options.plan)
            throw UsageError("--model needs --dataset: random token ids do not route as text does");
    }
    check_sizes(options, job.recording, job.ep_size, job.moe().router.top_k);
    if (job.num_iterations() <= job.range().start)
        throw UsageError("--iterations " + std::to_string(options.iterations) +
                         " ends before the recording begins, at iteration " +
                         std::to_string(job.range().start));
    lay_out_experts(job.moe(), job.ep_size, job.balancing.config, 1, job.order());
    return job;
}

std::vector<std::int64_t> sequence_lengths(const Job& job) {
    return job.options.dataset.empty() ? assumed_lengths(job.options, job.ep_size)
                                       : lengths_of(schedule_for(job));
}

PlannedRun plan_run(const Job& job,
                    std::vector<std::int64_t> sequence_lengths,
                    Backend& backend,
                    int num_threads,
                    int num_devices) {
    const DecoderConfig& config = *job.checkpoint;
    return {.config = &config,
            .cost = plan_cost(config, sequence_lengths),
            .sequence_lengths = std::move(sequence_lengths),
            .num_threads = num_threads,
            .num_devices = num_devices,
            .matrix_rate = measure_matrix_rate(backend, num_threads),
            .limits = decoder_limits(config, job.balancing.max_num_tokens, num_devices)};
}

void make_inputs(const Job& job, const ExpertLayout& layout, const Device& device, Inputs& inputs) {
    if (job.preset) {
        inputs.tokens = synthetic_tokens(job);
        inputs.synthetic.emplace(*job.preset, job.options.seed, device.threads);
        inputs.layers = std::make_unique<SyntheticLayers>(*inputs.synthetic, layout, device.backend,
                                                          device.communicator, device.threads);
        const int most = job.balancing.max_num_tokens;
        inputs.limits.expert_tokens = most == 0 ? 0 : std::max(1, most / device.num_devices());
        return;
    }
    auto tokens = std::make_unique<WholeSchedule>(schedule_for(job));
    inputs.schedule = &tokens->schedule();
    inputs.tokens = std::move(tokens);
    {
        CpuBackend apart(device.threads);  // the run's own counts its work
        inputs.plan =
            plan_run(job, lengths_of(*inputs.schedule), device.is_gpu ? device.backend : apart,
                     device.threads.num_threads(), device.num_devices());
        inputs.plan->is_on_gpu = device.is_gpu;
    }
    inputs.limits = inputs.plan->limits;
    inputs.checkpoint.emplace(job.options.model);
    inputs.layers =
        std::make_unique<CheckpointLayers>(*job.checkpoint, *inputs.checkpoint, layout,
                                           device.group == nullptr ? 0 : device.group->rank(),
                                           job.order(), device.backend, is_interrupted);
}

}  // namespace eplb::cli
