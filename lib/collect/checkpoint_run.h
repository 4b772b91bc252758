#ifndef EPLB_COLLECT_CHECKPOINT_RUN_H
#define EPLB_COLLECT_CHECKPOINT_RUN_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/held_weights.h"
#include "lib/cluster/process_group.h"
#include "lib/collect/decoder.h"
#include "lib/collect/run_state.h"
#include "lib/collect/schedule.h"
#include "lib/collect/slot_counter.h"
#include "lib/model/layer_reader.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// Runs a schedule's tokens through a checkpoint's decoder layers and counts what they are routed
// to.
//
// Layer-major: all tokens go through a layer before the next one is loaded, so that two layers'
// weights and the hidden states are all the memory it takes. Iteration-major: all layers stay, and
// iterations go through them one after another, as in an engine. The statistics are the same: a
// token's results depend on the tokens before it in its sequence alone, and a layer's placement on
// that layer's past.
//
// On several devices each has sequences of its own, and all compute each other's tokens' experts.
// Every device counts all ranks.
class CheckpointRun {
  public:
    struct Options {
        int ep_size = 1;
        std::optional<EplbConfig> config;
        std::int64_t record_start = 0;  // iterations before only carry the online balancing along
        bool iteration_major = false;
        bool keep_ids = false;
        Decoder::Limits limits;
        // both or neither: other devices
        Communicator* communicator = nullptr;
        ProcessGroup* group = nullptr;
    };

    // Layer by layer, what an observer sees. In iteration-major runs once per iteration.
    struct LayerTrace {
        int layer = 0;                             // model layer id
        std::span<const float> hidden;             // after the layer, [rows][hidden_size]
        std::span<const std::int32_t> expert_ids;  // [rows][top_k], empty for a layer without
        // rows: of this device, its sequences one after another
    };
    using LayerObserver = std::function<void(const LayerTrace&)>;

    CheckpointRun(const DecoderConfig& config,
                  LayerReader& reader,
                  const TokenSchedule& schedule,
                  const Options& options,
                  Backend& backend);

    // What the result depends on, for states of runs.
    const std::string& fingerprint() const { return state_.fingerprint; }

    // Goes on from a state, and saves it at each layer's end; layer-major runs only. Error where
    // the state's sizes are not this run's.
    void resume(RunState state);
    // Where that fails the run goes on without: `failed` is told why.
    void set_state_file(const RunStateFile* file,
                        std::function<void(const std::string&)> failed = nullptr) {
        state_file_ = file;
        state_failed_ = std::move(failed);
    }
    void set_observer(LayerObserver observer) { observer_ = std::move(observer); }
    void set_progress(std::function<void(int layer)> done) { layer_done_ = std::move(done); }
    // Asked now and then; where it says yes, run() returns false as soon as possible.
    void set_stop(const std::function<bool()>& stop);

    // False where it was stopped: layer-major runs have then come to next_layer(), iteration-major
    // ones have recorded num_recorded_iterations().
    bool run();

    int next_layer() const { return state_.next_layer; }
    int saved_layer() const { return saved_layer_; }  // where --resume goes on; 0: nowhere
    int num_recorded_iterations() const { return num_recorded_; }
    int num_slots() const { return counter_.num_slots(); }
    // of all devices, once the run is over: routed tokens x MoE layers
    std::int64_t num_routed() const { return num_routed_; }
    std::int64_t num_near_ties() const { return state_.num_near_ties; }
    std::int64_t num_moved_slots() const { return state_.num_moved_slots; }

    // What will be recorded, without counts.
    const ExpertStatistics& shape() const { return shape_; }

    // What was recorded, taken out of the run: iterations from record_start on.
    ExpertStatistics take_statistics();
    RoutedIds take_routed_ids();

  private:
    // Tokens that go through a layer together.
    struct Batch {
        std::vector<SequencePiece> pieces;    // of this device, rows from 0 on
        std::vector<std::int32_t> token_ids;  // of these rows
        std::vector<int> num_rows;            // [num_devices]
    };

    bool run_layers();
    bool run_iterations();
    int num_devices() const;
    int this_device() const;
    void deal_out_sequences();
    Batch make_batch(const std::vector<std::int32_t>& begin, const std::vector<std::int32_t>& end);
    void run_layer(int layer,
                   const LayerWeights& weights,
                   const Batch& batch,
                   KeyValueCache& cache,
                   float* hidden,
                   std::vector<std::int32_t>& expert_ids);
    void gather_ids(const Batch& batch, std::vector<std::int32_t>& expert_ids) const;
    std::vector<std::int32_t> ids_of(const std::vector<std::int32_t>& rows,
                                     const std::vector<std::int32_t>& expert_ids) const;
    void add_up_devices();
    std::string make_fingerprint() const;
    void save_state();
    void count(int moe_layer, std::size_t iteration, std::vector<std::int32_t> ids);
    bool is_recorded(std::size_t iteration) const;
    std::span<std::int64_t> counts_row(std::size_t iteration, int moe_layer);

    const DecoderConfig& config_;
    LayerReader& reader_;
    const TokenSchedule& schedule_;
    Options options_;
    Decoder decoder_;
    SlotCounter counter_;
    LayerObserver observer_;
    std::function<void(int)> layer_done_;
    Backend& backend_;
    std::function<bool()> stop_;
    const RunStateFile* state_file_ = nullptr;
    std::function<void(const std::string&)> state_failed_;
    RunState state_;
    DeviceBuffer<float> hidden_;                 // [rows of this device][hidden_size]
    std::vector<int> device_of_sequence_;        // [num_sequences]
    std::vector<std::int32_t> position_of_row_;  // of the schedule's, in the ids of the last batch
    int saved_layer_ = 0;
    ExpertStatistics shape_;
    int num_recorded_ = 0;
    std::int64_t num_routed_ = 0;
};

}  // namespace eplb

#endif
