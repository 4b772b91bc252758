#include "tools/collect_log.h"

#include <algorithm>
#include <numeric>

namespace eplb::cli {

void ImbalanceAverage::add(const std::vector<double>& layer_imbalance) {
    for (std::size_t i = 0; i < sums_.size(); ++i)
        sums_[i] += layer_imbalance[i];
    ++num_iterations_;
}

double ImbalanceAverage::over_layers() const {
    return std::accumulate(sums_.begin(), sums_.end(), 0.0) / static_cast<double>(sums_.size()) /
           num_iterations_;
}

std::size_t ImbalanceAverage::worst_layer() const {
    return static_cast<std::size_t>(std::max_element(sums_.begin(), sums_.end()) - sums_.begin());
}

CollectLog::CollectLog(const Output& out,
                       const MoeModelConfig& model,
                       const Harness& harness,
                       Backend& backend,
                       std::int64_t num_iterations,
                       bool stdout_is_busy)
    : out_(out),
      model_(model),
      harness_(harness),
      backend_(backend),
      num_iterations_(num_iterations),
      run_(model.layers.size()),
      cycle_(model.layers.size()),
      recorded_(model.layers.size()),
      progress_(!stdout_is_busy && !out.is_quiet()) {
    out_.note(model.name + " (synthetic, hidden size " + std::to_string(model.hidden_size) +
              "): " + std::to_string(model.num_layers()) + " MoE layers, " +
              std::to_string(model.router.num_experts) + " experts, top-" +
              std::to_string(model.router.top_k) + ", " + std::to_string(harness.num_slots()) +
              " slots on " + std::to_string(harness.ep_size()) + " ranks");
}

void CollectLog::iteration_done(std::int64_t iteration,
                                const IterationCounts& counts,
                                bool is_recorded) {
    const std::vector<double> imbalance = counts.rank_imbalance();
    run_.add(imbalance);
    if (is_recorded)
        recorded_.add(imbalance);
    show_progress(iteration + 1);
    if (harness_.balancer() == nullptr)
        return;
    cycle_.add(imbalance);
    num_moved_slots_ += counts.num_moved_slots;
    const int cycle_length = harness_.balancer()->plan().cycle_length();
    if ((iteration + 1) % cycle_length == 0 || iteration + 1 == num_iterations_)
        cycle_done(iteration / cycle_length, iteration + 1);
}

void CollectLog::cycle_done(std::int64_t cycle, std::int64_t iter_stop) {
    const double mib = static_cast<double>(num_moved_slots_) *
                       static_cast<double>(harness_.expert_bytes()) / (1 << 20);
    progress_.clear();
    out_.note("cycle " + std::to_string(cycle) + ", iterations " +
              std::to_string(cycle * harness_.balancer()->plan().cycle_length()) + "-" +
              std::to_string(iter_stop) + ": average imbalance ratio " +
              formatted("%.3f", cycle_.over_layers()) + ", " + std::to_string(num_moved_slots_) +
              " slots moved" + formatted(" (%.2f MiB)", mib));
    cycle_ = ImbalanceAverage(model_.layers.size());
    num_moved_slots_ = 0;
}

void CollectLog::run_done(std::int64_t num_iterations) {
    progress_.clear();
    if (num_iterations == 0)
        return;
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start_;
    const std::size_t worst = run_.worst_layer();
    out_.note(std::to_string(num_iterations) + formatted(" iterations in %.1f s", time.count()) +
              formatted("; over all of them average imbalance ratio %.3f", run_.over_layers()) +
              ", worst layer " + std::to_string(model_.layers[worst]) +
              formatted(": %.3f", run_.of_layer(worst)));
    out_.note(stage_times());
    out_.note(formatted("expert buffers took %.2f MiB at most",
                        static_cast<double>(harness_.peak_expert_buffer_bytes()) / (1 << 20)));
}

std::string CollectLog::stage_times() {
    std::vector<double> seconds = backend_.stage_seconds();
    seconds.resize(Stage::num_stages);
    // the device's counting is part of routing
    const double counting = backend_.counting_seconds();
    seconds[Stage::route] -= counting;
    const double total =
        std::accumulate(seconds.begin(), seconds.end(), counting + counting_seconds_);
    const auto share = [&](const char* name, double part) {
        return part > 0 ? std::string(", ") + name + formatted(" %.2f %%", 100 * part / total) : "";
    };
    std::string line = share("count", counting + counting_seconds_);
    for (std::size_t i = 0; i < seconds.size(); ++i)
        line += share(kStageNames[i], seconds[i]);
    return line.empty() ? "no time was measured" : "time in" + line.substr(1);
}

void CollectLog::show_progress(std::int64_t num_done) {
    if (progress_.is_shown())
        progress_.show("iteration " + std::to_string(num_done) + " of " +
                       std::to_string(num_iterations_) +
                       formatted(", average imbalance ratio %.3f", run_.over_layers()));
}

}  // namespace eplb::cli
