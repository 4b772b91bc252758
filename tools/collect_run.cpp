#include "tools/collect_run.h"

#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/collect/collector.h"
#include "lib/collect/direct_check.h"
#include "lib/collect/recorder.h"
#include "tools/collect_devices.h"
#include "tools/collect_job.h"
#include "tools/collect_log.h"
#include "tools/collect_plan.h"
#include "tools/collect_recording.h"
#include "tools/tool.h"

namespace eplb::cli {
namespace {

// Where the state of the run is kept, if anywhere; with --resume the run goes on from it.
std::optional<RunStateFile> use_state(const Output& out,
                                      const Job& job,
                                      const TokenSchedule& schedule,
                                      Collector& collector) {
    const CollectOptions& options = job.options;
    std::string path = options.state;
    if (path.empty() && !job.recording.path.empty() && job.recording.path != "-") {
        path = job.recording.path;
        while (path.size() > 1 && path.back() == '/')
            path.pop_back();
        path += ".state";
    }
    if (path.empty() && options.resume)
        throw UsageError("--resume: without a statistics folder, name the state with --state");
    if (path.empty()) {
        if (!job.recording.path.empty())
            out.note(
                "without a statistics folder nothing can be resumed; --state FILE keeps a state");
        return std::nullopt;
    }
    RunStateFile file(path);
    file.check_place();
    if (options.resume && !file.exists())
        throw Error(path + ": there is no state to resume; run without --resume");
    if (options.resume) {
        collector.resume(file.load(collector.fingerprint(schedule)), schedule);
        out.note("resumed at layer " + std::to_string(collector.next_layer()) + " of " +
                 std::to_string(job.checkpoint->num_layers) +
                 "; what follows is the plan of the whole run");
    } else if (file.exists()) {
        out.note(path +
                 " of a run that was broken off will be replaced; --resume would go on from it");
    }
    return file;
}

// A run by layer that was stopped; gives the exit code.
int say_interrupted(const Output& out,
                    const Collector& collector,
                    const std::optional<RunStateFile>& state) {
    out.warn("interrupted in layer " + std::to_string(collector.next_layer()) +
             (state && collector.saved_layer() > 0
                  ? "; run again with --resume to go on from layer " +
                        std::to_string(collector.saved_layer()) + " (" + state->path().string() +
                        ")"
                  : ": nothing was recorded"));
    return kInterrupted;
}

int run(const Output& out, const Job& job, const Device& device) {
    const CollectOptions& options = job.options;
    const std::string& path = job.recording.path;
    const ExpertLayout layout = lay_out_experts(job.moe(), job.ep_size, job.balancing.config,
                                                device.num_devices(), job.order());
    Inputs inputs;
    make_inputs(job, layout, device, inputs);
    Collector collector(*inputs.layers, layout,
                        {.order = job.order(),
                         .keep_ids = options.raw,
                         .limits = inputs.limits,
                         .communicator = device.communicator,
                         .group = device.group},
                        device.backend);
    std::optional<RunStateFile> state;
    if (inputs.schedule != nullptr && job.order() == LoopOrder::by_layer && device.group == nullptr)
        state = use_state(out, job, *inputs.schedule, collector);
    IterationRange range = job.range();
    if (range.stop == INT64_MAX)  // to the end of the data
        range.stop = inputs.schedule->first_iteration +
                     static_cast<std::int64_t>(inputs.schedule->iterations.size());
    std::optional<Recorder> recorder;
    if (!path.empty()) {
        note_replaced(out, path);
        recorder.emplace(collector.shape(), range, path, options.raw, collector.first_rank(),
                         device.group);
    }

    CollectLog log(out, job, inputs, collector, device,
                   path == "-" && ::isatty(STDOUT_FILENO) != 0);
    std::optional<DirectCheck> direct_check;
    if (options.check) {
        direct_check.emplace(*inputs.synthetic, device.threads);
        collector.set_observer(
            [&](const Collector::LayerTrace& trace) { direct_check->check(trace); });
    }
    if (state)
        collector.set_state_file(&*state, [&](const std::string& why) { out.warn(why); });
    collector.set_layer_done([&](int layer) { log.layer_done(layer); });
    collector.set_stop(is_interrupted);
    stop_at_signals();
    log.begin(collector.next_layer(), recorder.has_value());

    bool was_stopped = false;
    std::string cause = "--iterations says so";
    while (!was_stopped && log.num_iterations() < job.num_iterations()) {
        const std::optional<TokenSchedule> schedule = inputs.tokens->next();
        if (!schedule) {
            cause = "the dataset has no more tokens";
            break;
        }
        was_stopped = !collector.run(*schedule, [&](BatchCounts& batch) {
            log.batch_done(batch, recorder ? range : IterationRange{});
            if (recorder)
                recorder->record(batch);
        });
    }
    log.clear_progress();
    if (was_stopped && job.order() == LoopOrder::by_layer) {
        if (device.group != nullptr)
            throw Stopped();
        return say_interrupted(out, collector, state);
    }
    log.run_done();
    if (direct_check)
        out.note("checked " + std::to_string(direct_check->num_tokens()) + " tokens of layers" +
                 (device.group == nullptr ? "" : " of this device") +
                 ": largest difference from a direct evaluation " +
                 formatted("%.1e", direct_check->largest_difference()) + ", " +
                 std::to_string(direct_check->num_near_ties()) + " near-ties left out");
    if (was_stopped)
        cause = "it was interrupted";
    const std::string how_it_ended = "the run ended after " + std::to_string(log.num_iterations()) +
                                     " iterations, since " + cause;
    if (recorder && (recorder->num_recorded() > 0 || !was_stopped))
        finish_recording(out, *recorder, path, range, log.recorded_imbalance(), how_it_ended);
    else if (recorder)
        out.warn("nothing was recorded: " + how_it_ended);
    if (state)
        state->remove();
    return was_stopped ? kInterrupted : kDone;
}

// What a run through a checkpoint would take.
int print_plan(const Job& job) {
    ThreadPool threads(job.options.num_threads);
    CpuBackend backend(threads);
    const PlannedRun plan = plan_run(job, sequence_lengths(job), backend, threads.num_threads(), 1);
    std::fputs(plan_text(plan, job.checkpoint_size, !job.options.dataset.empty()).c_str(), stdout);
    return kDone;
}

}  // namespace

int collect(const Output& out, const CollectOptions& options) {
    const Job job = make_job(out, options);
    if (options.plan)
        return print_plan(job);
    return run_on_devices(out, options, job.recording,
                          [&](const Output& device_out, const Device& device) {
                              return run(device_out, job, device);
                          });
}

}  // namespace eplb::cli
