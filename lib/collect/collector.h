#ifndef EPLB_COLLECT_COLLECTOR_H
#define EPLB_COLLECT_COLLECTOR_H

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "lib/cluster/process_group.h"
#include "lib/collect/batch.h"
#include "lib/collect/batch_counts.h"
#include "lib/collect/counter.h"
#include "lib/collect/decoder.h"
#include "lib/collect/layer_source.h"
#include "lib/collect/run_state.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// Runs tokens through a model's layers and counts what they are routed to:
//
//     schedule -> batches -> layers -> decoder -> counter -> counts
//
// Expert-parallel ranks are dealt out to the devices: of D, d carries the ranks [d * ep_size / D,
// (d + 1) * ep_size / D) with their tokens, and holds each expert of their slots once. The
// statistics are the same, count by count, for any number of devices and either order. Ids leave a
// device while it computes the experts, and are counted then.
class Collector {
  public:
    struct Options {
        LoopOrder order = LoopOrder::by_iteration;
        bool keep_ids = false;
        Decoder::Limits limits = {};
        // both or neither: other devices
        Communicator* communicator = nullptr;
        ProcessGroup* group = nullptr;
    };

    // layout: as lay_out_experts() gives it for this order and number of devices.
    Collector(LayerSource& source,
              const ExpertLayout& layout,
              const Options& options,
              Backend& backend);

    // What a layer did with this device's tokens, for checks.
    struct LayerTrace {
        int layer = 0;                             // model layer id
        std::span<const float> input;              // hidden states [rows][hidden_size]
        std::span<const float> output;             // likewise, after the layer
        std::span<const std::int32_t> expert_ids;  // [rows][top_k], empty for a layer without
    };
    void set_observer(std::function<void(const LayerTrace&)> observer) {
        observer_ = std::move(observer);
    }
    void set_layer_done(std::function<void(int layer)> done) { layer_done_ = std::move(done); }
    // Asked before each batch, by all devices at once, and, where all iterations are one batch,
    // between pieces of work. Where any says yes, run() returns false as soon as possible.
    void set_stop(std::function<bool()> stop);

    // Of runs by layer on one device: the state is saved at each layer's end. Where that fails the
    // run goes on without, and `failed` is told why.
    void set_state_file(const RunStateFile* file, std::function<void(const std::string&)> failed) {
        state_file_ = file;
        state_failed_ = std::move(failed);
    }
    // What a run of the schedule depends on, for its state.
    std::string fingerprint(const TokenSchedule& schedule) const;
    // The next run() goes on from a state. Error where the state's sizes are not that run's.
    void resume(RunState state, const TokenSchedule& schedule);
    int next_layer() const { return state_.next_layer; }
    int saved_layer() const { return saved_layer_; }  // where --resume goes on; 0: nowhere

    // Runs a schedule, handing each batch's counts on. False where it was stopped; the batch at
    // hand is then lost, but for its state.
    bool run(const TokenSchedule& schedule, const std::function<void(BatchCounts&)>& counted);

    // What will be counted, without counts: of this device's ranks.
    ExpertStatistics shape() const;
    const Counter& counter() const { return counter_; }
    int first_rank() const { return first_rank_; }
    std::size_t peak_expert_buffer_bytes() const { return decoder_.expert_buffer_bytes(); }

  private:
    bool is_stopped();
    void grow_host_buffers(const Batch& batch);
    void begin_batch(const Batch& batch);
    void run_batch(const Batch& batch);
    void run_layer(int layer, const LayerWeights& weights, const Batch& batch);
    void run_experts(int moe_layer, const LayerWeights& weights, const Batch& batch);
    void count(int moe_layer, const Batch& batch, std::span<std::int32_t> place_ids);
    void rebalance(int moe_layer, const Batch& batch, int iteration);
    void count_experts(const Batch& batch);
    void save_state(const Batch& batch);
    void sum_over_devices(std::span<std::int64_t> values);
    BatchCounts take_counts(const Batch& batch);
    RoutedIds routed_ids(const Batch& batch) const;
    std::size_t num_ids(const Batch& batch) const;

    LayerSource& source_;
    const DecoderConfig& config_;
    ExpertLayout layout_;
    Options options_;
    Backend& backend_;
    int first_rank_;
    int num_ranks_;
    Decoder decoder_;
    Counter counter_;
    std::function<void(const LayerTrace&)> observer_;
    std::function<void(int)> layer_done_;
    std::function<bool()> stop_;
    const RunStateFile* state_file_ = nullptr;
    std::function<void(const std::string&)> state_failed_;
    int saved_layer_ = 0;

    // of the batch under way
    RunState state_;
    std::vector<std::int64_t> expert_counts_;  // [iterations][experts], of all source ranks
    std::int64_t num_routed_ = 0;
    DeviceBuffer<float> hidden_;           // [rows][hidden_size]
    std::vector<KeyValueCache> caches_;    // [layers], or one by layer
    HostBuffer<std::int32_t> expert_ids_;  // [rows][top_k]
    HostBuffer<float> margins_;            // [rows]
    DeviceBuffer<std::int32_t> place_ids_;
};

}  // namespace eplb

#endif
