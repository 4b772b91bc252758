#ifndef EPLB_COLLECT_EXPERT_EXCHANGE_H
#define EPLB_COLLECT_EXPERT_EXCHANGE_H

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "lib/collect/expert_layout.h"

namespace eplb {

// Dispatch, experts and the way back: the rows of tokens go to the places of their experts, on
// whichever device these are, through the experts there, and the outputs return. Where one device
// holds all experts nothing travels.
//
// A token's output does not depend on how many devices there are: an expert treats each row by
// itself.
class ExpertExchange {
  public:
    // Without a communicator there is one device.
    ExpertExchange(int hidden_size, int top_k, Backend& backend, Communicator* communicator);

    // What Backend::combine() takes: rows [num_tokens][top_k] into outputs. Valid until run().
    struct Outputs {
        const std::int32_t* rows;
        const float* values;
    };

    // Every device calls this as often. place_ids [num_tokens][top_k], normalized
    // [num_tokens][hidden_size]; experts: those of this device, in the order of its places. Waits
    // for the device once, for the sizes of the experts' products.
    Outputs run(int num_tokens,
                const ExpertPlaces& places,
                const std::int32_t* place_ids,
                const float* normalized,
                std::span<const MlpWeights> experts);

    std::size_t buffer_bytes() const;

  private:
    struct DispatchPlan {
        explicit DispatchPlan(Backend& backend)
            : place_begin(backend), rows(backend), source_rows(backend), row_places(backend) {}
        void grow(int num_places, std::size_t num_rows, bool with_row_places);
        Backend::DispatchRows arrays() const;
        std::size_t num_bytes() const;

        DeviceBuffer<std::int32_t> place_begin;
        DeviceBuffer<std::int32_t> rows;
        DeviceBuffer<std::int32_t> source_rows;
        DeviceBuffer<std::int32_t> row_places;
    };

    void read_begins(int num_places);
    void run_everywhere(std::size_t num_rows,
                        const ExpertPlaces& places,
                        const float* normalized,
                        std::span<const MlpWeights> experts);

    int hidden_size_;
    int top_k_;
    Backend& backend_;
    Communicator* communicator_;

    DispatchPlan plan_;                  // of this device's tokens, over all places
    DeviceBuffer<std::int32_t> begins_;  // [num_devices][num_places + 1], of all devices' plans
    std::vector<std::int32_t> host_begins_;
    DeviceBuffer<float> outputs_;

    // what other devices sent here
    DispatchPlan received_plan_;
    DeviceBuffer<float> sent_;
    DeviceBuffer<float> received_;
    DeviceBuffer<std::int32_t> received_places_;
    DeviceBuffer<float> received_outputs_;
};

}  // namespace eplb

#endif
