#ifndef EPLB_PLACEMENT_PLAN_FEWEST_SLOTS_H
#define EPLB_PLACEMENT_PLAN_FEWEST_SLOTS_H

#include <functional>
#include <span>

#include "lib/placement/plan/planner.h"

namespace eplb {

// The first deployment that is good enough or, where none is, the best of them without its plan.
struct FewestSlots {
    bool is_enough = false;
    int num_slots = 0;  // 0: none of those asked for is possible
    double imbalance = 0;
    Plan plan;
};

// Plans with each num_slots that is possible, in the order given, until planned_imbalance() is at
// most max_imbalance. tried() sees each plan.
FewestSlots plan_fewest_slots(std::span<const Workload> workloads,
                              const PlanRequest& request,
                              std::span<const int> num_slots,
                              double max_imbalance,
                              const PlanScope& scope,
                              const std::function<void(int num_slots, const Plan& plan)>& tried,
                              ThreadPool& threads);

}  // namespace eplb

#endif
