#ifndef EPLB_TOOLS_COLLECT_LOG_H
#define EPLB_TOOLS_COLLECT_LOG_H

#include <chrono>
#include <cstdint>
#include <string>

#include "lib/collect/collector.h"
#include "tools/collect_devices.h"
#include "tools/collect_job.h"
#include "tools/output.h"
#include "tools/terminal.h"

namespace eplb::cli {

// What a run of eplb-collect says on stderr: what it runs, a line per cycle of online balancing,
// progress on a terminal, and a summary.
class CollectLog {
  public:
    CollectLog(const Output& out,
               const Job& job,
               const Inputs& inputs,
               const Collector& collector,
               const Device& device,
               bool stdout_is_busy);  // the terminal shows something else: no progress line
    CollectLog(const CollectLog&) = delete;
    CollectLog& operator=(const CollectLog&) = delete;

    void begin(int first_layer, bool is_recorded);
    void layer_done(int layer);
    void batch_done(const BatchCounts& batch, const IterationRange& recorded);
    void clear_progress() { progress_.clear(); }
    std::int64_t num_iterations() const { return num_done_; }
    double recorded_imbalance() const { return recorded_.over_layers(); }
    void run_done();

  private:
    double seconds() const;
    void show_layer(int num_done);
    void cycle_done(std::int64_t iteration);
    std::string stage_times() const;
    std::string checkpoint_work() const;

    const Output& out_;
    const Job& job_;
    const Inputs& inputs_;
    const Collector& collector_;
    const Device& device_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    int first_layer_ = 0;
    std::int64_t num_done_ = 0;  // iterations
    ImbalanceAverage run_;
    ImbalanceAverage cycle_;
    ImbalanceAverage recorded_;
    std::int64_t num_moved_slots_ = 0;  // in the cycle, or the run where cycles are not told
    std::int64_t num_routed_ = 0;
    std::int64_t num_near_ties_ = 0;
    ProgressLine progress_;
};

}  // namespace eplb::cli

#endif
