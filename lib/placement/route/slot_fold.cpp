#include "lib/placement/route/slot_fold.h"

#include <algorithm>
#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

// name: the config's
void check_foldable(const ExpertStatistics& statistics,
                    const EplbConfig& config,
                    const std::string& name) {
    if (statistics.num_experts != config.num_slots)
        throw Error(name + ": has num_slots " + std::to_string(config.num_slots) +
                    ", but the statistics hold " + std::to_string(statistics.num_experts) +
                    " ids; give the yaml that was in force during the recording");
    if (statistics.ids == IdKind::expert)
        throw Error(
            name +
            ": statistics: the ids are experts already; leave out the config of the recording");
    if (statistics.layer_updates_per_iter > 0 || config.layer_updates_per_iter > 0)
        throw Error(
            name +
            ": statistics: experts moved between slots during the recording "
            "(layer_updates_per_iter > 0), so that slots cannot be turned back into experts; "
            "record with layer_updates_per_iter 0");
    if (config.initial_global_assignments.empty())
        throw Error(
            name +
            ": the config has no initial_global_assignments, so that the experts in its slots are "
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
                                            const std::string& name,
                                            int layer_id,
                                            int num_experts) {
    const auto found = config.initial_global_assignments.find(layer_id);
    const std::string subject = name + ": layer " + std::to_string(layer_id) + " of the config";
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

SlotFold::SlotFold(const ExpertStatistics& recording,
                   const EplbConfig& config,
                   const std::string& name) {
    check_foldable(recording, config, name);
    num_experts_ = highest_expert(config) + 1;
    for (const int layer_id : recording.layers)
        expert_ids_.push_back(assignment_in_force(config, name, layer_id, num_experts_));
}

ExpertStatistics SlotFold::folded_shape(const ExpertStatistics& recording) const {
    ExpertStatistics shape;
    shape.num_experts = num_experts_;
    shape.top_k = recording.top_k;
    shape.ep_size = recording.ep_size;
    shape.layers = recording.layers;
    shape.iter_start = recording.iter_start;
    shape.num_iterations = recording.num_iterations;
    shape.num_sources = recording.num_sources;
    shape.ids = IdKind::expert;
    shape.layer_updates_per_iter = recording.layer_updates_per_iter;
    return shape;
}

void SlotFold::add(int layer,
                   std::span<const std::int64_t> slots,
                   std::span<std::int64_t> experts) const {
    const std::vector<int>& expert_ids = expert_ids_[layer];
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
        experts[expert_ids[slot]] += slots[slot];
}

ExpertStatistics SlotFold::fold(const ExpertStatistics& recording) const {
    ExpertStatistics folded = folded_shape(recording);
    folded.allocate();
    for (int iteration = 0; iteration < recording.num_iterations; ++iteration)
        for (int layer = 0; layer < recording.num_layers(); ++layer)
            for (int source = 0; source < recording.num_sources; ++source)
                add(layer, recording.row(iteration, layer, source),
                    folded.row(iteration, layer, source));
    return folded;
}

std::optional<SlotFold> slot_fold(const ExpertStatistics& recording,
                                  const ConfigInForce& in_force) {
    const bool holds_experts =
        recording.ids == IdKind::expert ||
        (recording.ids == IdKind::unstated && recording.num_experts != in_force.config.num_slots);
    if (in_force.may_be_of_others && holds_experts)
        return std::nullopt;
    return SlotFold(recording, in_force.config, in_force.name);
}

void FoldedRows::begin(const ExpertStatistics& shape) {
    fold_ = slot_fold(shape, in_force_);
    target_.begin(fold_ ? fold_->folded_shape(shape) : shape);
}

void FoldedRows::add(std::int64_t iteration,
                     int layer,
                     int source,
                     std::span<const std::int64_t> counts) {
    if (!fold_) {
        target_.add(iteration, layer, source, counts);
        return;
    }
    std::vector<std::int64_t> experts(fold_->num_experts());
    fold_->add(layer, counts, experts);
    target_.add(iteration, layer, source, experts);
}

}  // namespace eplb
