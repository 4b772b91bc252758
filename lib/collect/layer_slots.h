#ifndef EPLB_COLLECT_LAYER_SLOTS_H
#define EPLB_COLLECT_LAYER_SLOTS_H

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "lib/base/parallel.h"
#include "lib/model/synthetic.h"
#include "lib/placement/placement.h"
#include "lib/placement/route/slot_router.h"

namespace eplb {

// One layer's experts in the slots of all ranks: which expert is where, how ids map to slots, and
// the weights of the slots that this device holds. Without a communicator it holds them all.
class LayerSlots {
  public:
    // placement.num_slots() must be divisible by the number of devices.
    LayerSlots(const SyntheticModel& model,
               int layer,
               Placement placement,
               Backend& backend,
               Communicator* communicator,
               ThreadPool& threads);

    const Placement& placement() const { return placement_; }
    const SlotRouter& router() const { return router_; }
    std::span<const MlpWeights> slot_weights() const { return slot_weights_; }  // of this device
    Backend::SlotTables tables() const;

    // Moves weights between slots, and devices, until they match `placement` (same shape). Every
    // expert must stand somewhere now. All devices call this alike. Returns how many slots changed,
    // over all devices.
    int move_to(const Placement& placement);

  private:
    struct Move {
        int source;  // slots
        int target;
    };

    int device_of(int slot) const { return slot / num_here_; }
    const float* weights_of(int slot) const;
    void move_weights(const std::vector<Move>& moves);
    void upload_tables();

    Backend* backend_;
    Communicator* communicator_;
    int row_size_;             // of an expert's weights, for copies
    std::size_t expert_size_;  // weights of one expert
    Placement placement_;
    SlotRouter router_;
    int num_here_;                 // slots of each device
    int first_here_;               // the first one of this device
    DeviceBuffer<float> weights_;  // [num_here][expert_size]
    std::vector<MlpWeights> slot_weights_;
    DeviceBuffer<std::int32_t> table_start_;
    DeviceBuffer<std::int32_t> table_slots_;
};

}  // namespace eplb

#endif
