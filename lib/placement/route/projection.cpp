#include "lib/placement/route/projection.h"

#include <algorithm>
#include <utility>

namespace eplb {

Projection::Projection(std::function<Placed(const ExpertStatistics& shape)> place,
                       bool takes_counts)
    : place_(std::move(place)), takes_counts_(takes_counts) {}

void Projection::begin(const ExpertStatistics& shape) {
    Placed placed = place_(shape);
    ExpertStatistics wanted;
    wanted.layers = placed.layers;
    for (const int layer_id : shape.layers)
        positions_.push_back(wanted.find_layer(layer_id));
    for (std::vector<Placement>& placements : placed.placements)
        replays_.emplace_back(std::move(placements), shape.num_experts, shape.iter_start,
                              shape.num_iterations);
}

void Projection::add(std::int64_t iteration,
                     int layer,
                     int source,
                     std::span<const std::int64_t> counts) {
    const std::optional<int> position = positions_[layer];
    if (!position || !takes_counts_)
        return;
    for (ReplicaReplay& replay : replays_)
        replay.add_counts(iteration, *position, source, counts);
}

bool Projection::is_exact() const {
    return std::all_of(replays_.begin(), replays_.end(),
                       [](const ReplicaReplay& replay) { return replay.is_exact(); });
}

void Projection::restart_from_ids() {
    for (ReplicaReplay& replay : replays_)
        if (!replay.is_exact())
            replay.restart_from_ids();
}

void Projection::add_ids(std::int64_t iteration,
                         int layer,
                         int source,
                         std::span<const std::int32_t> ids) {
    const std::optional<int> position = positions_[layer];
    if (!position)
        return;
    for (ReplicaReplay& replay : replays_)
        if (replay.is_from_ids())
            replay.add_ids(iteration, *position, source, ids);
}

}  // namespace eplb
