#include "tools/collect_log.h"

#include <sys/resource.h>

#include <algorithm>
#include <numeric>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/text.h"
#include "lib/collect/stages.h"
#include "tools/collect_plan.h"

namespace eplb::cli {

CollectLog::CollectLog(const Output& out,
                       const Job& job,
                       const Inputs& inputs,
                       const Collector& collector,
                       const Device& device,
                       bool stdout_is_busy)
    : out_(out),
      job_(job),
      inputs_(inputs),
      collector_(collector),
      device_(device),
      run_(job.moe().layers.size()),
      cycle_(job.moe().layers.size()),
      recorded_(job.moe().layers.size()),
      progress_(!stdout_is_busy && !out.is_quiet()) {}

void CollectLog::begin(int first_layer, bool is_recorded) {
    const MoeModelConfig& moe = job_.moe();
    if (inputs_.plan)
        out_.note(plan_line(*inputs_.plan));
    else
        out_.note(moe.name + " (synthetic, hidden size " + std::to_string(moe.hidden_size) +
                  "): " + std::to_string(moe.num_layers()) + " MoE layers, " +
                  std::to_string(moe.router.num_experts) + " experts, top-" +
                  std::to_string(moe.router.top_k) + ", " +
                  std::to_string(collector_.counter().num_slots()) + " slots on " +
                  std::to_string(job_.ep_size) + " ranks");
    if (!is_recorded)
        out_.note(
            "nothing is recorded: give --expert_statistic_path, or set "
            "EXPERT_STATISTIC_ITER_RANGE");
    if (job_.checkpoint && job_.options.ep_size == 0)
        out_.note("counted for one rank; --ep_size N deals the requests out to N");
    first_layer_ = first_layer;
    start_ = std::chrono::steady_clock::now();
    if (job_.order() == LoopOrder::by_layer)
        show_layer(first_layer);
}

double CollectLog::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void CollectLog::layer_done(int layer) {
    if (job_.order() == LoopOrder::by_layer)
        show_layer(layer + 1);
}

void CollectLog::show_layer(int num_done) {
    const int num_layers = inputs_.layers->layers().back() + 1;
    if (!progress_.is_shown() || num_done >= num_layers)
        return;
    std::string text =
        "layer " + std::to_string(num_done) + " of 0-" + std::to_string(num_layers - 1);
    if (num_done > first_layer_)
        text += ", " +
                duration_text(seconds() / (num_done - first_layer_) * (num_layers - num_done)) +
                " left";
    progress_.show(text);
}

void CollectLog::batch_done(const BatchCounts& batch, const IterationRange& recorded) {
    num_moved_slots_ += batch.num_moved_slots;
    num_routed_ += batch.num_routed;
    num_near_ties_ += batch.num_near_ties;
    const std::optional<int> cycle_length = job_.order() == LoopOrder::by_iteration
                                                ? collector_.counter().cycle_length()
                                                : std::nullopt;
    for (int i = 0; i < batch.statistics.num_iterations; ++i) {
        const std::int64_t iteration = batch.statistics.iter_start + i;
        const std::vector<double> imbalance = batch.rank_imbalance(i);
        run_.add(imbalance);
        cycle_.add(imbalance);
        if (iteration >= recorded.start && iteration < recorded.stop)
            recorded_.add(imbalance);
        ++num_done_;
        if (cycle_length &&
            ((iteration + 1) % *cycle_length == 0 || iteration + 1 == job_.num_iterations()))
            cycle_done(iteration);
    }
    if (job_.order() == LoopOrder::by_iteration && progress_.is_shown())
        progress_.show("iteration " + std::to_string(num_done_) + " of " +
                       std::to_string(job_.num_iterations()) +
                       formatted(", average imbalance ratio %.3f", run_.over_layers()));
}

void CollectLog::cycle_done(std::int64_t iteration) {
    const int length = *collector_.counter().cycle_length();
    const std::int64_t cycle = iteration / length;
    const MoeModelConfig& moe = job_.moe();
    const ExpertShape expert = {moe.hidden_size, moe.intermediate_size};
    const double mib = static_cast<double>(num_moved_slots_) *
                       static_cast<double>(expert.num_weights() * sizeof(float)) / (1 << 20);
    progress_.clear();
    out_.note("cycle " + std::to_string(cycle) + ", iterations " + std::to_string(cycle * length) +
              "-" + std::to_string(iteration + 1) + ": average imbalance ratio " +
              formatted("%.3f", cycle_.over_layers()) + ", " + std::to_string(num_moved_slots_) +
              " slots moved" + formatted(" (%.2f MiB)", mib));
    cycle_ = ImbalanceAverage(moe.layers.size());
    num_moved_slots_ = 0;
}

void CollectLog::run_done() {
    progress_.clear();
    if (num_done_ == 0)
        return;
    const std::size_t worst = run_.worst_layer();
    out_.note(std::to_string(num_done_) + formatted(" iterations in %.1f s", seconds()) +
              formatted("; over all of them average imbalance ratio %.3f", run_.over_layers()) +
              ", worst layer " + std::to_string(job_.moe().layers[worst]) +
              formatted(": %.3f", run_.of_layer(worst)));
    out_.note(stage_times());
    if (!job_.checkpoint) {
        out_.note(
            formatted("expert buffers took %.2f MiB at most",
                      static_cast<double>(collector_.peak_expert_buffer_bytes()) / (1 << 20)));
        return;
    }
    out_.note(checkpoint_work());
    out_.note(formatted("near-ties: %.4f %% of the routed tokens",
                        100 * static_cast<double>(num_near_ties_) /
                            static_cast<double>(std::max<std::int64_t>(num_routed_, 1))) +
              ", whose choice hung on less than 1e-5; another implementation may route them "
              "otherwise");
    if (num_moved_slots_ > 0)
        out_.note("online balancing moved " + std::to_string(num_moved_slots_) + " slots");
}

std::string CollectLog::stage_times() const {
    std::vector<double> stages = device_.backend.stage_seconds();
    stages.resize(Stage::num_stages);
    const double total = std::accumulate(stages.begin(), stages.end(), 0.0);
    std::string line;
    for (std::size_t i = 0; i < stages.size(); ++i)
        if (stages[i] > 0)
            line +=
                std::string(", ") + kStageNames[i] + formatted(" %.2f %%", 100 * stages[i] / total);
    return line.empty() ? "no time was measured" : "time in" + line.substr(1);
}

// Rates and memory.
std::string CollectLog::checkpoint_work() const {
    double read_bytes = 0;
    for (const int layer : inputs_.layers->layers())
        read_bytes += layer < first_layer_ ? 0 : inputs_.layers->layer_bytes(layer);
    std::string text = formatted("%.2f GB of weights, ", read_bytes * 1e-9);
    if (const auto* const cpu = dynamic_cast<const CpuBackend*>(&device_.backend)) {
        const MatrixWork experts = cpu->expert_work();
        const MatrixWork others = cpu->other_work();
        text +=
            formatted("%.1f GFLOP/s over all, ", (experts.flop + others.flop) / seconds() * 1e-9) +
            formatted("%.0f %%", 100 * (experts.seconds + others.seconds) /
                                     (seconds() * device_.threads.num_threads())) +
            " of the threads' time in matrix products; those of the experts at " +
            formatted("%.1f GFLOP/s per thread; ",
                      experts.seconds > 0 ? experts.flop / experts.seconds * 1e-9 : 0);
    } else {
        text += formatted("%.2f TFLOP/s over all; ", inputs_.plan->cost.flop() / seconds() * 1e-12);
    }
    rusage usage = {};
    ::getrusage(RUSAGE_SELF, &usage);
    return text +
           formatted("%.2f GB memory at most", static_cast<double>(usage.ru_maxrss) * 1024 * 1e-9);
}

}  // namespace eplb::cli
