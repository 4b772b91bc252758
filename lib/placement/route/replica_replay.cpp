#include "lib/placement/route/replica_replay.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace eplb {

ReplicaReplay::ReplicaReplay(std::vector<Placement> placements,
                             int num_experts,
                             std::int64_t iter_start,
                             int num_iterations)
    : placements_(std::move(placements)), iter_start_(iter_start), num_iterations_(num_iterations) {
    for (const Placement& placement : placements_) {
        Layer layer{SlotRouter(placement.expert_ids, num_experts), {}};
        for (int expert = 0; expert < num_experts; ++expert) {
            const int num_replicas = layer.router.num_replicas(expert);
            if (num_replicas < 2)
                continue;
            layer.shared.push_back({static_cast<std::size_t>(expert), num_replicas,
                                    (std::int64_t{1} << Shared::kShift) / num_replicas + 1,
                                    num_cells_});
            num_cells_ += static_cast<std::size_t>(num_replicas);
        }
        layers_.push_back(std::move(layer));
    }
    clear_cells();
}

void ReplicaReplay::clear_cells() {
    cells_.clear();
    for (int i = 0; i < num_iterations_; ++i)
        cells_[iter_start_ + i].resize(num_cells_);
}

void ReplicaReplay::restart_from_ids() {
    clear_cells();
    is_exact_ = is_from_ids_ = true;
}

bool ReplicaReplay::has_replicas() const {
    return num_cells_ > 0;
}

std::span<std::int64_t> ReplicaReplay::cells_of(std::int64_t iteration) {
    if (num_iterations_ > 0)
        return cells_.find(iteration)->second;  // the map itself stays as it is: several threads
    Cells& cells = cells_[iteration];
    cells.resize(num_cells_);
    return cells;
}

// Runs for every source rank, hence no division and no branch that depends on the counts.
void ReplicaReplay::take_turns(std::int64_t* replicas,
                               const Shared& expert,
                               std::int64_t num_tokens,
                               int source_rank) {
    if (expert.num_replicas == 2) {  // most have no more
        const int first = source_rank & 1;
        replicas[first] += (num_tokens + 1) >> 1;
        replicas[1 - first] += num_tokens >> 1;
        return;
    }
    const std::int64_t num_turns = expert.divide(num_tokens);
    const std::int64_t num_left = num_tokens - num_turns * expert.num_replicas;
    // the turn that is not full begins at this replica and may go on at replica 0
    const std::int64_t first = source_rank - expert.divide(source_rank) * expert.num_replicas;
    const std::int64_t num_wrapped = first + num_left - expert.num_replicas;
    for (std::int64_t replica = 0; replica < expert.num_replicas; ++replica) {
        const bool is_in_turn =
            static_cast<std::uint64_t>(replica - first) < static_cast<std::uint64_t>(num_left);
        const bool is_wrapped = replica < num_wrapped;
        replicas[replica] += num_turns + (is_in_turn | is_wrapped);
    }
}

void ReplicaReplay::add_counts(std::int64_t iteration,
                               int layer,
                               int source_rank,
                               std::span<const std::int64_t> counts) {
    const std::vector<Shared>& shared = layers_[layer].shared;
    if (shared.empty() || !is_exact())
        return;
    if (std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) > kRoutingBlock) {
        if (std::any_of(shared.begin(), shared.end(),
                        [&](const Shared& e) { return counts[e.expert] > 0; }))
            is_exact_.store(false, std::memory_order_relaxed);
        return;
    }
    std::int64_t* const cells = cells_of(iteration).data();
    for (const Shared& expert : shared)
        take_turns(cells + expert.first_cell, expert, counts[expert.expert], source_rank);
}

void ReplicaReplay::add_ids(std::int64_t iteration,
                            int layer,
                            int source_rank,
                            std::span<const std::int32_t> ids) {
    const Layer& found = layers_[layer];
    if (found.shared.empty())
        return;
    std::vector<std::int32_t> slot_ids(ids.size());
    found.router.route(ids, source_rank, slot_ids);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(found.router.num_slots()) + 1);
    for (const std::int32_t slot : slot_ids)
        ++counts[slot];
    std::int64_t* const cells = cells_of(iteration).data();
    for (const Shared& expert : found.shared) {
        std::int64_t* replica = cells + expert.first_cell;
        for (const std::int32_t slot : found.router.replica_slots(static_cast<int>(expert.expert)))
            *replica++ += counts[slot];
    }
}

LayerLoad ReplicaReplay::slot_load(const LayerLoad& expert_load,
                                   std::int64_t iter_start,
                                   int layer) const {
    assert(is_exact());
    const Layer& found = layers_[layer];
    const std::vector<int>& expert_ids = placements_[layer].expert_ids;
    std::vector<double> load;
    load.reserve(expert_load.num_iterations * expert_ids.size());
    for (int i = 0; i < expert_load.num_iterations; ++i) {
        const std::span<const double> experts = expert_load.iteration(i);
        const std::size_t first = load.size();
        for (const int expert : expert_ids)
            load.push_back(experts[expert]);
        if (found.shared.empty())
            continue;
        const Cells& cells = cells_.at(iter_start + i);
        for (const Shared& expert : found.shared) {
            std::size_t cell = expert.first_cell;
            for (const std::int32_t slot :
                 found.router.replica_slots(static_cast<int>(expert.expert)))
                load[first + slot] = static_cast<double>(cells[cell++]);
        }
    }
    return {expert_load.num_iterations, found.router.num_slots(), std::move(load)};
}

}  // namespace eplb
