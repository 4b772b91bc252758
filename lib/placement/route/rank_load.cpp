#include "lib/placement/route/rank_load.h"

#include <algorithm>
#include <functional>
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

std::vector<double> bin_totals(const LayerLoad& load) {
    std::vector<double> totals(load.num_bins);
    for (int i = 0; i < load.num_iterations; ++i)
        std::transform(totals.begin(), totals.end(), load.iteration(i).begin(), totals.begin(),
                       std::plus<>());
    return totals;
}

LayerLoad recorded_load(const ExpertStatistics& statistics, int layer) {
    const auto num_experts = static_cast<std::size_t>(statistics.num_experts);
    LayerLoad recorded{statistics.num_iterations, statistics.num_experts, {}};
    recorded.load.resize(static_cast<std::size_t>(statistics.num_iterations) * num_experts);
    double* sums = recorded.load.data();
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration) {
        for (int source = 0; source < statistics.num_sources; ++source) {
            const std::span<const std::int64_t> row = statistics.row(iteration, layer, source);
            for (std::size_t expert = 0; expert < num_experts; ++expert)
                sums[expert] += static_cast<double>(row[expert]);  // exact below 2^53
        }
        sums += num_experts;
    }
    return recorded;
}

LayerLoad projected_load(const ExpertStatistics& statistics,
                         int layer,
                         std::span<const int> expert_ids) {
    require_expert_ids(statistics);
    const std::vector<int> replicas = covering_replica_counts(expert_ids, statistics.num_experts);
    const LayerLoad recorded = recorded_load(statistics, layer);
    LayerLoad projected{statistics.num_iterations, static_cast<int>(expert_ids.size()), {}};
    projected.load.reserve(static_cast<std::size_t>(statistics.num_iterations) * expert_ids.size());
    for (int i = 0; i < statistics.num_iterations; ++i) {
        const std::span<const double> load = recorded.iteration(i);
        for (const int id : expert_ids) {
            const auto expert = static_cast<std::size_t>(id);
            projected.load.push_back(load[expert] / replicas[expert]);
        }
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
