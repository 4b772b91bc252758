#ifndef EPLB_PLACEMENT_ROUTE_SLOT_FOLD_H
#define EPLB_PLACEMENT_ROUTE_SLOT_FOLD_H

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"

namespace eplb {

// From slot ids back to experts: each slot counts for the expert that a config puts there.
class SlotFold {
  public:
    // recording: its counts are not looked at. name: the config's, with which messages start.
    // Error: ids are experts already, num_slots differs, the config has no assignments (it then
    // leaves open which experts its slots hold), a layer is missing in it or malformed, or the
    // experts moved during the recording (layer_updates_per_iter > 0 in either).
    SlotFold(const ExpertStatistics& recording, const EplbConfig& config, const std::string& name);

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

// The config that was in force while recordings were made.
struct ConfigInForce {
    EplbConfig config;
    std::string name;
    // not of all of them: one that holds experts is left as it is
    bool may_be_of_others = false;
};

// Nothing where the recording is none of its own. Error as SlotFold's.
std::optional<SlotFold> slot_fold(const ExpertStatistics& recording, const ConfigInForce& in_force);

// Hands on rows of slots as rows of experts. Outlived by what it is given.
class FoldedRows : public RowSink {
  public:
    FoldedRows(const ConfigInForce& in_force, RowSink& target)
        : in_force_(in_force), target_(target) {}

    void begin(const ExpertStatistics& shape) override;
    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override;

  private:
    const ConfigInForce& in_force_;
    RowSink& target_;
    std::optional<SlotFold> fold_;  // none where the rows are of experts already
};

}  // namespace eplb

#endif
