#ifndef EPLB_COLLECT_EXPERT_EXCHANGE_H
#define EPLB_COLLECT_EXPERT_EXCHANGE_H

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"

namespace eplb {

// Dispatch, experts and the way back: the rows of tokens go to the devices that hold their slots,
// through the experts there, and the outputs return. Where one device holds all slots nothing
// travels.
//
// A token's output does not depend on how many devices there are: rows come to a slot in the order
// of source ranks and tokens, and an expert treats each row by itself.
class ExpertExchange {
  public:
    // Device d holds slots [slot_begin[d], slot_begin[d + 1]). Without a communicator there is one
    // device.
    ExpertExchange(std::vector<int> slot_begin,
                   int hidden_size,
                   int top_k,
                   Backend& backend,
                   Communicator* communicator);

    // What Backend::combine() takes: rows [num_tokens][top_k] into outputs. Valid until run().
    struct Outputs {
        const std::int32_t* rows;
        const float* values;
    };

    // Every device calls this as often. tokens and slot_ids as in Backend::DispatchArguments,
    // normalized [..][hidden_size] by token; slot_weights: of this device's slots.
    Outputs run(int num_tokens,
                const std::int32_t* tokens,
                const std::int32_t* slot_ids,
                const float* normalized,
                std::span<const MlpWeights> slot_weights);

    // Of the last run: rows that all devices together sent to each slot, [num_slots].
    std::span<const std::int32_t> slot_counts() const { return slot_counts_; }

    std::size_t buffer_bytes() const;

  private:
    struct Plan {
        explicit Plan(Backend& backend)
            : slot_begin(backend), rows(backend), source_rows(backend), row_slots(backend) {}
        void grow(int num_slots, std::size_t num_rows, bool with_row_slots);
        Backend::DispatchRows arrays() const;
        std::size_t num_bytes() const;

        DeviceBuffer<std::int32_t> slot_begin;
        DeviceBuffer<std::int32_t> rows;
        DeviceBuffer<std::int32_t> source_rows;
        DeviceBuffer<std::int32_t> row_slots;
    };

    int num_devices() const { return static_cast<int>(slot_begin_.size()) - 1; }
    int num_slots() const { return slot_begin_.back(); }
    void read_slot_counts();
    void run_here(const float* normalized, std::span<const MlpWeights> slot_weights);
    void run_everywhere(std::size_t num_rows,
                        const float* normalized,
                        std::span<const MlpWeights> slot_weights);

    std::vector<int> slot_begin_;
    int hidden_size_;
    int top_k_;
    Backend& backend_;
    Communicator* communicator_;

    Plan plan_;                          // of this device's tokens, over all slots
    DeviceBuffer<std::int32_t> begins_;  // [num_devices][num_slots + 1], of all devices' plans
    std::vector<std::int32_t> host_begins_;
    std::vector<std::int32_t> slot_counts_;
    DeviceBuffer<float> outputs_;

    // what other devices sent here
    Plan received_plan_;
    DeviceBuffer<float> sent_;
    DeviceBuffer<float> received_;
    DeviceBuffer<std::int32_t> received_slots_;
    DeviceBuffer<float> received_outputs_;
};

}  // namespace eplb

#endif
