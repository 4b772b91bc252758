#ifndef EPLB_PLACEMENT_PLAN_PLAN_SUMMARY_H
#define EPLB_PLACEMENT_PLAN_PLAN_SUMMARY_H

#include <optional>
#include <span>

#include "lib/placement/plan/planner.h"
#include "lib/placement/route/recorded_under.h"
#include "lib/placement/route/traffic.h"

// What plans amount to, over their layers. Positions are of layers that hold tokens.
namespace eplb {

// Where the summed load is farthest above what no placement is below, and by how much.
struct BoundGap {
    int layer = 0;  // a position
    double gap = 0;
};
BoundGap largest_bound_gap(const Plan& plan);

// The position of the layer where any placement with so many slots is the most uneven.
int most_forced_layer(const Plan& plan);

// Slots whose rank holds the same expert in another slot.
int num_duplicate_slots(const Plan& plan);

// Ranks and nodes that tokens are sent to; layers as in `plan`.
TokenTraffic expected_traffic(const RoutedIds& routed, const Plan& plan, int num_nodes);

// The imbalance ratio without the plan, a mean over workloads.
struct ImbalanceBefore {
    double imbalance_ratio = 0;
    int ep_size =
        0;  // ranks that hold the experts in order; 0: as recorded, with what was in force
};

// As recorded, where there is one recording and it was made under a config. Else with the experts
// in order, on the ranks of the request, or of the recording, where these divide the experts;
// nothing where they do not. statistics: [workloads]; under: of the first.
std::optional<ImbalanceBefore> imbalance_before(std::span<const ExpertStatistics> statistics,
                                                const std::optional<RecordedUnder>& under,
                                                const PlanRequest& request);

}  // namespace eplb

#endif
