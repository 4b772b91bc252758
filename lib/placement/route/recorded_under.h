#ifndef EPLB_PLACEMENT_ROUTE_RECORDED_UNDER_H
#define EPLB_PLACEMENT_ROUTE_RECORDED_UNDER_H

#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/rank_load.h"

namespace eplb {

// What folding takes from statistics: the load of the slots, and the config that was in force.
struct RecordedUnder {
    std::vector<LayerLoad> slot_load;  // [layers], bins are slots
    EplbConfig config;
};

}  // namespace eplb

#endif
