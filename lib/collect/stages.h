#ifndef EPLB_COLLECT_STAGES_H
#define EPLB_COLLECT_STAGES_H

namespace eplb {

// What the device's time goes to; Backend::begin_stage() takes these.
enum Stage { count, embed, attention, route, dispatch, experts, combine, move_weights, num_stages };

constexpr const char* kStageNames[num_stages] = {
    "count", "embed", "attention", "route", "dispatch", "experts", "combine", "move_weights"};

}  // namespace eplb

#endif
