#ifndef EPLB_PLACEMENT_ROUTE_SLOT_FOLD_H
#define EPLB_PLACEMENT_ROUTE_SLOT_FOLD_H

#include <cstdint>
#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// From slot ids back to experts: each slot counts for the expert that a config puts there.
class SlotFold {
  public:
    // recording: its counts are not looked at.
    // Error: ids are experts already, num_slots differs, the config has no assignments (it then
    // leaves open which experts its slots hold), a layer is missing in it or malformed, or the
    // experts moved during the recording (layer_updates_per_iter > 0 in either).
    SlotFold(const ExpertStatistics& recording, const EplbConfig& config);

    int num_experts() const { return num_experts_; }  // the highest in the config, plus 1

    // `recording`, whose ids are experts then; no counts.
    ExpertStatistics folded_shape(const ExpertStatistics& recording) const;

    // With counts.
    ExpertStatistics fold(const ExpertStatistics& recording) const;

    // One row: adds slots, [num_slots], to experts, [num_experts]. layer is a position from 0.
    void add(int layer, std::span<const std::int64_t> slots, std::span<std::int64_t> experts) const;

  private:
    int num_experts_ = 0;
    std::vector<std::vector<int>> expert_ids_;  // [layers][num_slots]
};

// The same in one step.
ExpertStatistics fold_slots(const ExpertStatistics& statistics, const EplbConfig& config);

}  // namespace eplb

#endif
