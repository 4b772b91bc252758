#ifndef EPLB_PLACEMENT_PLAN_UPDATE_SUMMARY_H
#define EPLB_PLACEMENT_PLAN_UPDATE_SUMMARY_H

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/placement/plan/update.h"

namespace eplb {

// What an update moves and gains, over all layers.
struct UpdateSummary {
    std::int64_t num_slots = 0;
    int num_moves = 0;
    int most_layer = 0;  // position of the layer with the most moves, and how many
    int most_per_layer = 0;
    std::vector<int> rank_moves;  // [ep_size]
    int most_rank = 0;            // likewise
    int most_per_rank = 0;

    double current_imbalance = kNotKnown;  // with the placement in force, on what was fitted to
    double fitted = kNotKnown;             // after the update, on the same

    // What share of the imbalance in force goes, as predicted: what is in force was not fitted to
    // the counts, so that its figure is a prediction too. None where nothing moves or nothing can
    // be predicted.
    std::optional<double> gain;
    bool is_worth_it() const;  // at least 1 %, rounded
};

// Mean over the layers.
double current_imbalance(std::span<const LayerUpdate> updates);

// updates: [layers], of `plan`, which is what they lead to.
UpdateSummary summarize(std::span<const LayerUpdate> updates, const Plan& plan);

}  // namespace eplb

#endif
