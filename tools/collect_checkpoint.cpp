#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/checkpoint_run.h"
#include "lib/collect/dataset.h"
#include "lib/collect/initial_placement.h"
#include "lib/collect/stages.h"
#include "lib/model/cost.h"
#include "lib/placement/route/load_summary.h"
#include "tools/collect.h"
#include "tools/collect_devices.h"
#include "tools/collect_plan.h"
#include "tools/collect_recording.h"
#include "tools/paths.h"
#include "tools/statistics_input.h"
#include "tools/terminal.h"
#include "tools/tool.h"

namespace eplb::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the command line asks for, with its defaults.
struct Job {
    Recording recording;
    int ep_size = 1;
    Balancing balancing;
    DecoderConfig config;
    CheckpointSize size;  // with the layers that --num_layers leaves out
};

Job resolve(const Output& out, const CollectOptions& options) {
    Job job;
    job.recording = resolve_recording(options);
    job.ep_size = options.ep_size > 0 ? options.ep_size : 1;
    job.config = read_decoder_config(options.model);
    job.size = checkpoint_size(job.config);
    MoeModelConfig& moe = job.config.moe;
    if (options.num_layers > moe.num_layers())
        throw UsageError("--num_layers " + std::to_string(options.num_layers) + ": the model has " +
                         std::to_string(moe.num_layers()) + " MoE layers");
    job.balancing = read_balancing(out, options, moe, job.ep_size);  // of the whole model
    if (options.num_layers > 0)
        moe.layers.resize(options.num_layers);
    check_sizes(options, job.recording, job.ep_size, moe.router.top_k);
    check_deployment(moe, job.ep_size, job.balancing.config);
    if (options.dataset.empty() && !options.plan)
        throw UsageError("--model needs --dataset: random token ids do not route as text does");
    return job;
}

ScheduleOptions schedule_options(const CollectOptions& options, const Job& job) {
    ScheduleOptions schedule = {.ep_size = job.ep_size,
                                .tokens_per_rank = options.tokens_per_rank,
                                .segment = options.segment};
    if (job.recording.range) {
        schedule.start = job.recording.range->start;
        schedule.stop = job.recording.range->stop;
    }
    if (options.iterations > 0)
        schedule.stop = std::min(schedule.stop, options.iterations);
    if (schedule.stop <= schedule.start)
        throw UsageError("--iterations " + std::to_string(options.iterations) +
                         " ends before the recording begins, at iteration " +
                         std::to_string(schedule.start));
    // online balancing is carried along from the first iteration on
    if (job.balancing.config && job.balancing.config->layer_updates_per_iter > 0)
        schedule.start = 0;
    return schedule;
}

std::vector<std::int64_t> lengths_of(const TokenSchedule& schedule) {
    std::vector<std::int64_t> lengths;
    for (std::size_t s = 0; s + 1 < schedule.sequence_begin.size(); ++s)
        lengths.push_back(schedule.sequence_begin[s + 1] - schedule.sequence_begin[s]);
    return lengths;
}

// without a dataset: as many tokens as the options say, or 10,000, in sequences of a usual length
std::vector<std::int64_t> assumed_lengths(const CollectOptions& options, const Job& job) {
    constexpr std::int64_t kSequence = 4096;
    constexpr std::int64_t kTokens = 10000;
    std::int64_t left = options.iterations > 0
                            ? options.iterations * job.ep_size * options.tokens_per_rank
                            : kTokens;
    if (left > INT32_MAX)
        throw UsageError("--iterations: a plan for " + std::to_string(left) +
                         " tokens is more than one run can hold");
    std::vector<std::int64_t> lengths;
    for (; left > 0; left -= lengths.back())
        lengths.push_back(std::min(left, kSequence));
    return lengths;
}

Decoder::Limits decoder_limits(const DecoderConfig& config, int max_num_tokens) {
    Decoder::Limits limits = default_limits(config);
    if (max_num_tokens > 0) {
        limits.attention_tokens = std::min(limits.attention_tokens, max_num_tokens);
        limits.expert_tokens = std::min(limits.expert_tokens, max_num_tokens);
    }
    return limits;
}

double average_imbalance(const ExpertStatistics& statistics) {
    double sum = 0;
    const std::vector<LoadSummary> layers = recorded_summaries(statistics, statistics.ep_size);
    for (const LoadSummary& layer : layers)
        sum += layer.imbalance_ratio;
    return sum / static_cast<double>(layers.size());
}

std::string percent(double share) {
    return formatted("%.0f %%", 100 * share);
}

// "; products at 61.2 GFLOP/s …" of the threads
std::string threads_work(const CpuBackend& backend, int num_threads, double seconds) {
    const MatrixWork experts = backend.expert_work();
    const MatrixWork others = backend.other_work();
    const double matrix_seconds = experts.seconds + others.seconds;
    return formatted("%.1f GFLOP/s over all, ", (experts.flop + others.flop) / seconds * 1e-9) +
           percent(matrix_seconds / (seconds * num_threads)) +
           " of the threads' time in matrix products; those of the experts at " +
           formatted("%.1f GFLOP/s per thread; ",
                     experts.seconds > 0 ? experts.flop / experts.seconds * 1e-9 : 0);
}

// the same of a GPU
std::string gpu_work(Backend& backend, double flop, double seconds) {
    std::string text = formatted("%.2f TFLOP/s over all; ", flop / seconds * 1e-12);
    const std::vector<double> stages = backend.stage_seconds();
    for (std::size_t i = 0; i < stages.size(); ++i)
        if (stages[i] > 0)
            text += std::string(kStageNames[i]) + formatted(" %.1f s, ", stages[i]);
    return text;
}

// Rates, memory and near-ties of a run.
void say_summary(const Output& out,
                 const CheckpointRun& run,
                 const Device& device,
                 double flop,
                 double read_bytes,
                 double seconds) {
    rusage usage = {};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto* const cpu = dynamic_cast<const CpuBackend*>(&device.backend);
    out.note(
        formatted("%.1f s", seconds) + ": " + formatted("%.2f GB of weights, ", read_bytes * 1e-9) +
        (cpu != nullptr ? threads_work(*cpu, device.threads.num_threads(), seconds)
                        : gpu_work(device.backend, flop, seconds)) +
        formatted("%.2f GB memory at most", static_cast<double>(usage.ru_maxrss) * 1024 * 1e-9));
    const double routed = static_cast<double>(std::max<std::int64_t>(run.num_routed(), 1));
    out.note(formatted("near-ties: %.4f %% of the routed tokens",
                       100 * static_cast<double>(run.num_near_ties()) / routed) +
             ", whose choice hung on less than 1e-5; another implementation may route them "
             "otherwise");
    if (run.num_moved_slots() > 0)
        out.note("online balancing moved " + std::to_string(run.num_moved_slots()) + " slots");
}

// One line per layer on a terminal.
class LayerProgress {
  public:
    LayerProgress(int num_layers, bool wanted) : num_layers_(num_layers), line_(wanted) {}

    void begin(int first_layer) {
        first_layer_ = first_layer;
        show(first_layer);
    }
    void layer_done(int layer) { show(layer + 1); }
    void clear() { line_.clear(); }

  private:
    void show(int num_done) {
        if (!line_.is_shown() || num_done >= num_layers_)
            return;
        std::string text =
            "layer " + std::to_string(num_done) + " of 0-" + std::to_string(num_layers_ - 1);
        if (num_done > first_layer_)
            text += ", " +
                    duration_text(seconds_since(start_) / (num_done - first_layer_) *
                                  (num_layers_ - num_done)) +
                    " left";
        line_.show(text);
    }

    int num_layers_;
    int first_layer_ = 0;
    Clock::time_point start_ = Clock::now();
    ProgressLine line_;
};

std::vector<Request> read_requests(const CollectOptions& options, const DecoderConfig& config) {
    std::vector<Request> requests = read_dataset(options.dataset, config.moe.vocab_size);
    if (options.segment == Segment::output &&
        std::all_of(requests.begin(), requests.end(),
                    [](const Request& r) { return r.output_ids.empty(); }))
        throw Error(options.dataset +
                    ": --segment output: no request has \"output_ids\"; record the answers, or "
                    "count the prompts");
    return requests;
}

TokenSchedule schedule_for(const CollectOptions& options, const Job& job) {
    const std::vector<Request> requests = read_requests(options, job.config);
    const ScheduleOptions schedule_by = schedule_options(options, job);
    try {
        TokenSchedule schedule = make_schedule(requests, schedule_by);
        const std::int64_t start = job.recording.range ? job.recording.range->start : 0;
        if (schedule.first_iteration + static_cast<std::int64_t>(schedule.iterations.size()) <=
            start)
            throw Error("has no token for iteration " + std::to_string(start));
        return schedule;
    } catch (const Error& error) {
        throw Error(options.dataset + ": " + error.what());
    }
}

Plan make_plan(const CollectOptions& options,
               const Job& job,
               std::vector<std::int64_t> lengths,
               Backend& backend,
               int num_threads) {
    return {.config = &job.config,
            .size = job.size,
            .cost = plan_cost(job.config, lengths),
            .sequence_lengths = std::move(lengths),
            .assumes_lengths = options.dataset.empty(),
            .num_threads = num_threads,
            .read_rate = options.read_rate,
            .matrix_rate = measure_matrix_rate(backend, num_threads),
            .gpu_rate = options.gpu_rate,
            .copy_rate = options.copy_rate,
            .limits = decoder_limits(job.config, job.balancing.max_num_tokens),
            .iteration_major = options.iteration_major};
}

// The state that the run is kept in, if any; with --resume the run goes on from it.
std::optional<RunStateFile> use_state(const Output& out,
                                      const CollectOptions& options,
                                      const Job& job,
                                      CheckpointRun& run) {
    const Recording& recording = job.recording;
    std::string path = options.state;
    if (path.empty() && !recording.path.empty() && recording.path != "-") {
        path = recording.path;
        while (path.size() > 1 && path.back() == '/')
            path.pop_back();
        path += ".state";
    }
    if (path.empty() && options.resume)
        throw UsageError("--resume: without a statistics folder, name the state with --state");
    if (path.empty() || options.iteration_major)
        return std::nullopt;
    RunStateFile file(path);
    file.check_place();
    if (options.resume && !file.exists())
        throw Error(path + ": there is no state to resume; run without --resume");
    if (options.resume) {
        run.resume(file.load(run.fingerprint()));
        out.note("resumed at layer " + std::to_string(run.next_layer()) + " of " +
                 std::to_string(job.config.num_layers) +
                 "; what follows is the plan of the whole run");
    } else if (file.exists()) {
        out.note(path +
                 " of a run that was broken off will be replaced; --resume would go on from it");
    }
    return file;
}

// Records what the run has come to; gives the exit code.
int finish(const Output& out,
           const CollectOptions& options,
           const Recording& recording,
           const IterationRange& range,
           bool is_complete,
           CheckpointRun& run,
           std::optional<Recorder>& recorder) {
    if (recorder && run.num_recorded_iterations() == 0)
        out.warn("nothing was recorded: the run was interrupted in its first iteration");
    if (recorder && run.num_recorded_iterations() > 0) {
        ExpertStatistics statistics = run.take_statistics();
        const double imbalance = average_imbalance(statistics);
        std::optional<RoutedIds> routed_ids;
        if (options.raw)
            routed_ids = run.take_routed_ids();
        recorder->record(std::move(statistics), std::move(routed_ids));
        finish_recording(out, *recorder, recording.path, range, imbalance,
                         is_complete ? "the dataset has no more tokens" : "it was interrupted");
    }
    return is_complete ? kDone : kInterrupted;
}

int run_checkpoint(const Output& out,
                   const CollectOptions& options,
                   const Job& job,
                   const Device& device) {
    const DecoderConfig& config = job.config;
    const Recording& recording = job.recording;
    const RankShare share = device.share(job.ep_size);
    const TokenSchedule schedule = schedule_for(options, job);
    Plan plan;
    {
        CpuBackend apart(device.threads);  // the run's own counts its work
        plan = make_plan(options, job, lengths_of(schedule), device.is_gpu ? device.backend : apart,
                         device.threads.num_threads());
        plan.is_gpu = device.is_gpu;
        plan.num_devices = device.num_devices();
    }
    const Checkpoint checkpoint(options.model);
    LayerReader reader(config, checkpoint, config.num_needed_layers(), true,
                       Decoder::experts_here(config, device.communicator));
    CheckpointRun run(config, reader, schedule,
                      {.ep_size = job.ep_size,
                       .config = job.balancing.config,
                       .record_start = recording.range ? recording.range->start : 0,
                       .iteration_major = options.iteration_major,
                       .keep_ids = options.raw,
                       .limits = plan.limits,
                       .communicator = device.communicator,
                       .group = device.group},
                      device.backend);
    const std::optional<RunStateFile> state =
        device.group == nullptr ? use_state(out, options, job, run) : std::nullopt;
    if (state)
        run.set_state_file(&*state, [&](const std::string& why) { out.warn(why); });
    else if (recording.path == "-" && !options.iteration_major)
        out.note("without a statistics folder nothing can be resumed; --state FILE keeps a state");

    // to the end of what was asked for, or of the data
    IterationRange range = {run.shape().iter_start,
                            run.shape().iter_start + run.shape().num_iterations};
    if (recording.range)
        range.stop = recording.range->stop;
    if (options.iterations > 0)
        range.stop =
            recording.range ? std::min(range.stop, options.iterations) : options.iterations;
    std::optional<Recorder> recorder;
    if (!recording.path.empty())
        open_recorder(out, options, run.shape(), range, recording.path, share, recorder);
    else
        out.note(
            "nothing is recorded: give --expert_statistic_path, or set "
            "EXPERT_STATISTIC_ITER_RANGE");
    out.note(plan_line(plan));
    if (options.ep_size == 0)
        out.note("counted for one rank; --ep_size N deals the requests out to N");

    LayerProgress progress(
        config.num_needed_layers(),
        !out.is_quiet() && (recording.path != "-" || ::isatty(STDOUT_FILENO) == 0));
    if (!options.iteration_major)
        run.set_progress([&](int layer) { progress.layer_done(layer); });
    run.set_stop(is_interrupted);
    stop_at_signals();
    double read_bytes = 0;
    for (int layer = run.next_layer(); layer < config.num_needed_layers(); ++layer)
        read_bytes += reader.layer_bytes(layer);
    if (!options.iteration_major)
        progress.begin(run.next_layer());
    const Clock::time_point start = Clock::now();
    const bool is_complete = run.run();
    progress.clear();
    if (!is_complete && device.group != nullptr)
        throw Interrupted();
    if (!is_complete && !options.iteration_major) {
        out.warn("interrupted in layer " + std::to_string(run.next_layer()) +
                 (state && run.saved_layer() > 0
                      ? "; run again with --resume to go on from layer " +
                            std::to_string(run.saved_layer()) + " (" + state->path().string() + ")"
                      : ": nothing was recorded"));
        return kInterrupted;
    }
    say_summary(out, run, device, plan.cost.flop(), read_bytes, seconds_since(start));
    const int code = finish(out, options, recording, range, is_complete, run, recorder);
    if (state)
        state->remove();
    return code;
}

}  // namespace

int collect_checkpoint(const Output& out, const CollectOptions& options) {
    const Job job = resolve(out, options);
    if (!options.plan)
        return run_on_devices(out, options, job.recording,
                              [&](const Output& device_out, const Device& device) {
                                  return run_checkpoint(device_out, options, job, device);
                              });
    ThreadPool threads(options.num_threads);
    CpuBackend backend(threads);
    const std::vector<std::int64_t> lengths = options.dataset.empty()
                                                  ? assumed_lengths(options, job)
                                                  : lengths_of(schedule_for(options, job));
    const Plan plan = make_plan(options, job, lengths, backend, threads.num_threads());
    std::fputs(plan_text(plan).c_str(), stdout);
    return kDone;
}

}  // namespace eplb::cli
