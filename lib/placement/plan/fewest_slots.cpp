#include "lib/placement/plan/fewest_slots.h"

#include <utility>

#include "lib/placement/plan/sweep.h"

namespace eplb {

FewestSlots plan_fewest_slots(std::span<const Workload> workloads,
                              const PlanRequest& request,
                              std::span<const int> num_slots,
                              double max_imbalance,
                              const PlanScope& scope,
                              const std::function<void(int num_slots, const Plan& plan)>& tried,
                              ThreadPool& threads) {
    FewestSlots best;
    PlanRequest trial = request;
    for (const int candidate : num_slots) {
        if (!is_possible(request, request.ep_size, candidate,
                         workloads.front().statistics->num_experts))
            continue;
        trial.num_slots = candidate;
        Plan plan = make_plan(workloads, trial, scope, threads);
        tried(candidate, plan);
        const double imbalance = planned_imbalance(plan);
        if (imbalance <= max_imbalance)
            return {true, candidate, imbalance, std::move(plan)};
        if (best.num_slots == 0 || imbalance < best.imbalance)
            best = {false, candidate, imbalance, {}};
    }
    return best;
}

}  // namespace eplb
