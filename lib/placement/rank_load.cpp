#include "lib/placement/rank_load.h"

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

void check_foldable(const ExpertStatistics& statistics, const EplbConfig& config) {
    if (statistics.ids == IdKind::expert)
        throw Error(
            "statistics: the ids are experts already; leave out the config of the recording");
    if (statistics.num_experts != config.num_slots)
        throw Error("statistics: recorded with " + std::to_string(statistics.num_experts) +
                    " slots, but the config has num_slots " + std::to_string(config.num_slots) +
                    "; give the config that was in force during the recording");
    if (statistics.layer_updates_per_iter > 0 || config.layer_updates_per_iter > 0)
        throw Error(
            "statistics: experts moved between slots during the recording "
            "(layer_updates_per_iter > 0), so that slots cannot be turned back into experts; "
            "record with layer_updates_per_iter 0");
    if (config.initial_global_assignments.empty())
        throw Error(
            "the config has no initial_global_assignments, so that the experts in its slots are "
            "not known; record with a config that has them");
}

int highest_expert(const EplbConfig& config) {
    int highest = -1;
    for (const auto& [layer_id, expert_ids] : config.initial_global_assignments)
        for (const int expert : expert_ids)
            highest = std::max(highest, expert);
    return highest;
}

// The expert in each slot of one layer, checked.
const std::vector<int>& assignment_in_force(const EplbConfig& config,
                                            int layer_id,
                                            int num_experts) {
    const auto found = config.initial_global_assignments.find(layer_id);
    const std::string subject = "layer " + std::to_string(layer_id) + " of the config";
    if (found == config.initial_global_assignments.end())
        throw Error(
            subject +
            ": missing in initial_global_assignments, but in the statistics; give the config "
            "that was in force during the recording");
    if (static_cast<int>(found->second.size()) != config.num_slots)
        throw Error(subject + ": " + std::to_string(found->second.size()) +
                    " entries, but num_slots is " + std::to_string(config.num_slots));
    try {
        covering_replica_counts(found->second, num_experts);
    } catch (const Error& error) {
        throw Error(subject + ": " + error.what());
    }
    return found->second;
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

ExpertStatistics fold_slots(const ExpertStatistics& statistics, const EplbConfig& config) {
    check_foldable(statistics, config);
    ExpertStatistics folded = statistics;
    folded.ids = IdKind::expert;
    folded.num_experts = highest_expert(config) + 1;
    folded.allocate();
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const std::vector<int>& expert_ids = assignment_in_force(
            config, statistics.layers[static_cast<std::size_t>(layer)], folded.num_experts);
        for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
            for (int source = 0; source < statistics.num_sources; ++source) {
                const std::span<const std::int64_t> slots =
                    statistics.row(iteration, layer, source);
                const std::span<std::int64_t> experts = folded.row(iteration, layer, source);
                for (std::size_t slot = 0; slot < slots.size(); ++slot)
                    experts[static_cast<std::size_t>(expert_ids[slot])] += slots[slot];
            }
    }
    return folded;
}

}  // namespace eplb
