#ifndef EPLB_COLLECT_EXPERT_LAYOUT_H
#define EPLB_COLLECT_EXPERT_LAYOUT_H

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/placement/placement.h"

namespace eplb {

// Which device holds which experts of a layer, each of them once. A place is an expert's copy on a
// device; places are numbered device after device, on a device by expert. Rows of tokens go to
// places.
class ExpertPlaces {
  public:
    // Device d of D carries the ranks [d * ep_size / D, (d + 1) * ep_size / D) and holds the
    // experts that stand in their slots. D divides ep_size.
    ExpertPlaces(const Placement& placement, int num_experts, int num_devices);
    // Without replicas: expert e on device e * num_devices / num_experts.
    static ExpertPlaces in_order(int num_experts, int num_devices);

    int num_devices() const { return static_cast<int>(experts_.size()); }
    int num_places() const { return begin_.back(); }
    std::span<const int> begin() const { return begin_; }  // [num_devices + 1], places
    const std::vector<int>& experts(int device) const { return experts_[device]; }  // ascending
    bool holds(int device, int expert) const;
    int place(int device, int expert) const;  // which the device holds

    // The place on the first device that holds the expert.
    std::int32_t place_of_expert(int expert) const { return place_of_expert_[expert]; }
    // The place of the expert in a slot, on the slot's device; of a placement alone.
    std::int32_t place_of_slot(int slot) const { return place_of_slot_[slot]; }
    // Whether places are experts, so that ids need no look-up.
    bool are_experts() const { return are_experts_; }

  private:
    ExpertPlaces(std::vector<std::vector<int>> experts, int num_experts);

    std::vector<std::vector<int>> experts_;  // [num_devices]
    std::vector<int> begin_;
    std::vector<std::int32_t> place_of_expert_;  // [num_experts]
    std::vector<std::int32_t> place_of_slot_;    // [num_slots]
    bool are_experts_ = true;
};

// The loops' order. Both give the same statistics: a token's results depend on the tokens before it
// in its sequence alone, and a layer's placement on that layer's past.
enum class LoopOrder {
    by_layer,      // all iterations go through a layer before the next is loaded
    by_iteration,  // as in an engine; all layers stay in memory
};

// Where the experts of all MoE layers are when a run starts.
struct ExpertLayout {
    int ep_size = 1;
    int num_devices = 1;
    int num_slots = 0;  // the experts, in order, without a config
    int layer_updates_per_iter = 0;
    bool has_config = false;
    std::vector<Placement> placements;  // [MoE layers]
    // What devices hold. Where all iterations go through a layer at once while it is re-placed
    // again and again, no placement is in force: experts lie in order.
    std::vector<ExpertPlaces> places;

    // The experts of each MoE layer that a device holds.
    std::vector<std::vector<int>> experts_of(int device) const;
};

// Experts stand as the config assigns them, else as the engine's default does. Errors: ep_size and
// the config do not fit the model (a UsageError without a config, for then the experts themselves
// must be divisible), num_devices does not divide ep_size; they name the layer.
ExpertLayout lay_out_experts(const MoeModelConfig& model,
                             int ep_size,
                             const std::optional<EplbConfig>& config,
                             int num_devices,
                             LoopOrder order);

}  // namespace eplb

#endif
