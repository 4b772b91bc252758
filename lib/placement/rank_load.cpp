#include "lib/placement/rank_load.h"

#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

void require_expert_ids(const ExpertStatistics& statistics) {
    if (statistics.ids == IdKind::slot)
        throw Error(
            "statistics: the ids are slots, not experts; fold them with the config that was "
            "in force during the recording");
}

}  // namespace

LayerLoad recorded_load(const ExpertStatistics& statistics, int layer) {
    const std::vector<std::int64_t> counts = counts_per_iteration(statistics, layer);
    return {statistics.num_iterations, statistics.num_experts, {counts.begin(), counts.end()}};
}

LayerLoad projected_load(const ExpertStatistics& statistics,
                         int layer,
                         std::span<const int> expert_ids) {
    require_expert_ids(statistics);
    const auto num_experts = static_cast<std::size_t>(statistics.num_experts);
    const std::vector<int> replicas = covering_replica_counts(expert_ids, statistics.num_experts);
    const std::vector<std::int64_t> counts = counts_per_iteration(statistics, layer);
    LayerLoad projected{statistics.num_iterations, static_cast<int>(expert_ids.size()), {}};
    projected.load.reserve(static_cast<std::size_t>(statistics.num_iterations) * expert_ids.size());
    for (std::size_t first = 0; first < counts.size(); first += num_experts)
        for (const int id : expert_ids) {
            const auto expert = static_cast<std::size_t>(id);
            projected.load.push_back(static_cast<double>(counts[first + expert]) /
                                     replicas[expert]);
        }
    return projected;
}

LayerLoad rank_load(const LayerLoad& slot_load, int ep_size) {
    if (ep_size < 1 || slot_load.num_bins % ep_size != 0)
        throw Error("ep_size " + std::to_string(ep_size) + " does not divide the " +
                    std::to_string(slot_load.num_bins) + " slots");
    const auto slots_per_rank = static_cast<std::size_t>(slot_load.num_bins / ep_size);
    LayerLoad by_rank{slot_load.num_iterations, ep_size, {}};
    by_rank.load.reserve(static_cast<std::size_t>(slot_load.num_iterations) *
                         static_cast<std::size_t>(ep_size));
    for (std::size_t first = 0; first < slot_load.load.size(); first += slots_per_rank) {
        double sum = 0;
        for (std::size_t slot = first; slot < first + slots_per_rank; ++slot)
            sum += slot_load.load[slot];
        by_rank.load.push_back(sum);
    }
    return by_rank;
}

}  // namespace eplb
