#ifndef EPLB_COLLECT_HARNESS_H
#define EPLB_COLLECT_HARNESS_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "kernels/held_weights.h"
#include "lib/base/parallel.h"
#include "lib/collect/expert_exchange.h"
#include "lib/collect/expert_parallel.h"
#include "lib/collect/layer_slots.h"
#include "lib/collect/online_balancer.h"
#include "lib/collect/stages.h"
#include "lib/placement/placement.h"

namespace eplb {

// What one iteration routed, as one device sees it: that of its own source ranks, and totals.
struct IterationCounts {
    int num_layers = 0;
    int ep_size = 0;
    int num_slots = 0;
    int first_rank = 0;  // of the source ranks of this device
    int num_ranks = 0;
    std::vector<std::int64_t> slot_totals;  // [num_layers][num_slots], of all source ranks
    std::vector<std::int64_t> counts;       // [num_layers][num_ranks][num_slots], where counted
    // the slots' ids themselves, [num_layers][num_tokens of the ranks][top_k], in token order
    std::vector<std::int32_t> slot_ids;
    int num_moved_slots = 0;  // by re-placements after the iteration, over all layers

    // Per layer (max - mean) / mean of the ranks that compute, 0 for a layer without tokens.
    std::vector<double> rank_imbalance() const;
};

// Runs the MoE layers over all expert-parallel ranks, which are dealt out to the devices: of D
// devices, d carries the ranks [d * ep_size / D, (d + 1) * ep_size / D), with their tokens and
// slots. The statistics are the same, count by count, for any number of devices.
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
        Communicator* communicator = nullptr;  // between devices; none: this is the only one
    };

    // Throws an Error where the config does not fit the model or ep_size, or ep_size is not
    // divisible by the number of devices. What it is given must outlive it.
    Harness(const SyntheticModel& model,
            const Options& options,
            Backend& backend,
            ThreadPool& threads);

    int num_slots() const { return num_slots_; }
    int ep_size() const { return options_.ep_size; }
    std::size_t expert_bytes() const;  // weights of one routed expert

    // What a layer did with this device's tokens, for checks.
    struct LayerTrace {
        int layer = 0;
        std::span<const float> input;              // hidden states [num_tokens][hidden_size]
        std::span<const float> output;             // likewise
        std::span<const std::int32_t> expert_ids;  // [num_tokens][top_k]
    };
    using LayerObserver = std::function<void(const LayerTrace&)>;

    // tokens are those of all ranks, the same at every device. Counts refer to the slots as they
    // were during the iteration; placements move after it.
    const IterationCounts& run(std::int64_t iteration,
                               const IterationTokens& tokens,
                               const LayerObserver& observer = nullptr);

    // The same in two steps, so that the counts leave a GPU while it goes on: finish() gives those
    // of the first iteration that was started and not finished, valid until two more are started.
    // At most two may be unfinished.
    void start(std::int64_t iteration,
               const IterationTokens& tokens,
               const LayerObserver& observer = nullptr);
    const IterationCounts& finish();

    const LayerSlots& layer_slots(int layer) const { return slots_[layer]; }
    const OnlineBalancer* balancer() const { return balancer_ ? &*balancer_ : nullptr; }

    // Largest size that the expert buffers have had, in bytes; max_num_tokens bounds it.
    std::size_t peak_expert_buffer_bytes() const { return peak_expert_buffer_bytes_; }

  private:
    void start_iteration(const IterationTokens& tokens);
    void route_layer(int layer);
    void compute_chunk(int layer, const std::vector<std::int32_t>* tokens);
    void balance_layer(std::int64_t iteration, int layer);
    IterationCounts& current() { return counts_[num_started_ % 2]; }
    std::span<std::int64_t> slot_totals(int layer);

    const SyntheticModel& model_;
    Options options_;
    Backend& backend_;
    ThreadPool& threads_;
    int num_slots_;
    std::vector<LayerSlots> slots_;                    // [num_layers]
    std::vector<DeviceBuffer<float>> shared_experts_;  // [num_layers], or empty
    HeldWeights router_weights_;
    std::optional<OnlineBalancer> balancer_;
    ExpertExchange exchange_;
    int first_rank_ = 0;  // of the source ranks of this device
    int num_ranks_ = 0;
    std::array<IterationCounts, 2> counts_;  // of iterations that are under way, by turns
    std::array<int, 2> downloads_ = {};
    std::size_t num_started_ = 0;
    std::size_t num_finished_ = 0;
    std::size_t peak_expert_buffer_bytes_ = 0;

    // of the current iteration and this device's ranks, [num_tokens_][…]
    int num_tokens_ = 0;
    std::vector<std::int32_t> rank_begin_;  // [num_ranks + 1]
    DeviceBuffer<std::int32_t> device_rank_begin_;
    DeviceBuffer<std::int32_t> device_counts_;  // [num_layers][num_ranks][num_slots]
    std::vector<float> embedded_;
    DeviceBuffer<float> hidden_;
    DeviceBuffer<float> normalized_;
    DeviceBuffer<std::int32_t> expert_ids_;
    DeviceBuffer<std::int32_t> slot_ids_;
    DeviceBuffer<float> weights_;
    // of the current chunk
    DeviceBuffer<std::int32_t> chunk_tokens_;  // positions among the device's tokens
    DeviceBuffer<float> shared_output_;
};

}  // namespace eplb

#endif
