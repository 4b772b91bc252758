#ifndef EPLB_COLLECT_HARNESS_H
#define EPLB_COLLECT_HARNESS_H

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "kernels/backend.h"
#include "lib/base/parallel.h"
#include "lib/collect/expert_parallel.h"
#include "lib/collect/online_balancer.h"
#include "lib/placement/placement.h"

namespace eplb {

// Where the time goes: wall-clock seconds, counting as its share of the threads' time.
struct StageTimes {
    enum Stage { embed, route, count, dispatch, experts, combine, move_weights, num_stages };
    std::array<double, num_stages> seconds = {};
};

// What one iteration routed.
struct IterationCounts {
    int num_layers = 0;
    int ep_size = 0;
    int num_slots = 0;
    std::vector<std::int64_t> slot_totals;  // [num_layers][num_slots], of all source ranks
    std::vector<std::int64_t> counts;  // [num_layers][ep_size (source)][num_slots], where counted
    // the slots' ids themselves, [num_layers][num_tokens][top_k], in token order
    std::vector<std::int32_t> slot_ids;

    std::span<std::int64_t> row(int layer, int rank);  // [num_slots]

    // Per layer (max - mean) / mean of the ranks that compute, 0 for a layer without tokens.
    std::vector<double> rank_imbalance() const;
};

// Runs the MoE layers over all expert-parallel ranks, on one device.
//
// Per iteration and layer: route, experts to slots, count, dispatch, grouped experts, combine, in
// chunks of about max_num_tokens tokens over all ranks. Ids become slots before the chunks are cut,
// so that max_num_tokens changes memory and nothing else.
class Harness {
  public:
    struct Options {
        int ep_size = 1;
        int max_num_tokens = 0;            // 0: the whole iteration at once
        std::optional<EplbConfig> config;  // none: experts are slots, in order
        bool count = true;                 // per source rank
        bool keep_ids = false;
    };

    // Throws an Error where the config does not fit the model or ep_size.
    Harness(const SyntheticModel& model,
            const Options& options,
            Backend& backend,
            ThreadPool& threads);

    int num_slots() const { return num_slots_; }
    int ep_size() const { return options_.ep_size; }
    std::size_t expert_bytes() const;  // weights of one routed expert

    // What a layer did, for checks.
    struct LayerTrace {
        int layer = 0;
        std::span<const float> input;              // hidden states [num_tokens][hidden_size]
        std::span<const float> output;             // likewise
        std::span<const std::int32_t> expert_ids;  // [num_tokens][top_k]
    };
    using LayerObserver = std::function<void(const LayerTrace&)>;

    // Counts refer to the slots as they were during the iteration; placements move after it.
    const IterationCounts& run(std::int64_t iteration,
                               const IterationTokens& tokens,
                               const LayerObserver& observer = nullptr);

    // Slots that the last iteration's re-placements changed, over all layers.
    int num_moved_slots() const { return num_moved_slots_; }
    const LayerSlots& layer_slots(int layer) const {
        return slots_[static_cast<std::size_t>(layer)];
    }
    const OnlineBalancer* balancer() const { return balancer_ ? &*balancer_ : nullptr; }
    const StageTimes& times() const { return times_; }

    // Largest size that the expert buffers have had, in bytes; max_num_tokens bounds it.
    std::size_t peak_expert_buffer_bytes() const { return peak_expert_buffer_bytes_; }

  private:
    void route_layer(int layer, const IterationTokens& tokens);
    void compute_chunk(int layer);
    void balance_layer(std::int64_t iteration, int layer);

    const SyntheticModel& model_;
    Options options_;
    Backend& backend_;
    ThreadPool& threads_;
    int num_slots_;
    std::vector<LayerSlots> slots_;                   // [num_layers]
    std::vector<std::vector<float>> shared_experts_;  // [num_layers], or empty
    std::optional<OnlineBalancer> balancer_;
    int num_moved_slots_ = 0;
    IterationCounts counts_;
    StageTimes times_;
    std::size_t peak_expert_buffer_bytes_ = 0;

    // of the current iteration, [num_tokens][…]
    std::vector<float> hidden_;
    std::vector<float> normalized_;
    std::vector<std::int32_t> expert_ids_;
    std::vector<std::int32_t> slot_ids_;
    std::vector<float> weights_;
    // of the current chunk
    std::vector<std::int32_t> chunk_tokens_;  // positions in the iteration
    DispatchPlan plan_;
    std::vector<float> expert_output_;
    std::vector<float> shared_output_;
};

}  // namespace eplb

#endif
