#ifndef EPLB_TOOLS_COLLECT_LOG_H
#define EPLB_TOOLS_COLLECT_LOG_H

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/collect/harness.h"
#include "lib/model/model_config.h"
#include "tools/output.h"
#include "tools/terminal.h"

namespace eplb::cli {

// Imbalance over ranks, averaged over iterations.
class ImbalanceAverage {
  public:
    explicit ImbalanceAverage(std::size_t num_layers) : sums_(num_layers) {}

    void add(const std::vector<double>& layer_imbalance);
    double over_layers() const;
    std::size_t worst_layer() const;
    double of_layer(std::size_t layer) const { return sums_[layer] / num_iterations_; }

  private:
    std::vector<double> sums_;  // [num_layers]
    int num_iterations_ = 0;
};

// What a run of eplb-collect says on stderr: what it runs, a line per cycle of online balancing,
// progress on a terminal, and a summary.
class CollectLog {
  public:
    CollectLog(const Output& out,
               const MoeModelConfig& model,
               const Harness& harness,
               Backend& backend,
               std::int64_t num_iterations,
               bool stdout_is_busy);  // the terminal shows something else: no progress line
    CollectLog(const CollectLog&) = delete;
    CollectLog& operator=(const CollectLog&) = delete;

    void iteration_done(std::int64_t iteration, const IterationCounts& counts, bool is_recorded);
    void add_counting(std::chrono::duration<double> time) { counting_seconds_ += time.count(); }
    double recorded_imbalance() const { return recorded_.over_layers(); }
    void run_done(std::int64_t num_iterations);

  private:
    void show_progress(std::int64_t num_done);
    void cycle_done(std::int64_t cycle, std::int64_t iter_stop);
    std::string stage_times();

    const Output& out_;
    const MoeModelConfig& model_;
    const Harness& harness_;
    Backend& backend_;
    std::int64_t num_iterations_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    ImbalanceAverage run_;
    ImbalanceAverage cycle_;
    ImbalanceAverage recorded_;
    std::int64_t num_moved_slots_ = 0;  // in the cycle
    double counting_seconds_ = 0;       // beside the backend's own
    ProgressLine progress_;
};

}  // namespace eplb::cli

#endif
