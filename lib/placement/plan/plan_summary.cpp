#include "lib/placement/plan/plan_summary.h"

#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

// some layer has tokens: statistics without any are refused
template <typename Value>
int worst_layer(const Plan& plan, const Value& value) {
    std::optional<int> worst;
    for (int i = 0; i < static_cast<int>(plan.layers.size()); ++i)
        if (plan.layers[i].has_tokens &&
            (!worst || value(plan.layers[i]) > value(plan.layers[*worst])))
            worst = i;
    return worst.value();
}

}  // namespace

BoundGap largest_bound_gap(const Plan& plan) {
    const auto gap = [](const LayerPlan& layer) { return layer.aggregated - layer.bound; };
    const int worst = worst_layer(plan, gap);
    return {worst, gap(plan.layers[worst])};
}

int most_forced_layer(const Plan& plan) {
    return worst_layer(plan, [](const LayerPlan& layer) { return layer.bound; });
}

int num_duplicate_slots(const Plan& plan) {
    int sum = 0;
    for (const LayerPlan& layer : plan.layers)
        sum += num_duplicate_slots(layer.placement);
    return sum;
}

TokenTraffic expected_traffic(const RoutedIds& routed, const Plan& plan, int num_nodes) {
    TokenTraffic sum;
    for (int layer = 0; const LayerPlan& planned : plan.layers)
        sum += expected_traffic(routed, layer++, planned.placement, num_nodes);
    return sum;
}

std::optional<ImbalanceBefore> imbalance_before(std::span<const ExpertStatistics> statistics,
                                                const std::optional<RecordedUnder>& under,
                                                const PlanRequest& request) {
    const ExpertStatistics& first = statistics.front();
    if (under && statistics.size() == 1 && !first.has_unknown_sources &&
        under->config.num_slots % first.ep_size == 0) {
        std::vector<LoadSummary> layers;
        for (const LayerLoad& load : under->slot_load)
            layers.push_back(summarize(rank_load(load, first.ep_size)));
        return ImbalanceBefore{average(layers).imbalance_ratio, 0};
    }
    for (const int ep_size : {request.ep_size, first.ep_size}) {
        // speeds are of the deployment's ranks alone, and a sum tells nothing of ranks
        if (first.num_experts % ep_size != 0 || !request.rank_speed.empty() ||
            (first.has_unknown_sources && ep_size == first.ep_size))
            continue;
        std::vector<double> means;
        for (const ExpertStatistics& workload : statistics)
            means.push_back(average(recorded_summaries(workload, ep_size)).imbalance_ratio);
        return ImbalanceBefore{mean_of(means), ep_size};
    }
    return std::nullopt;
}

}  // namespace eplb
