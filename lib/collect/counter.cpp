#include "lib/collect/counter.h"

namespace eplb {

Counter::Counter(const ExpertLayout& layout, int num_experts, int top_k, int first_rank)
    : num_experts_(num_experts),
      num_slots_(layout.num_slots),
      top_k_(top_k),
      first_rank_(first_rank),
      are_slots_(layout.has_config),
      placements_(layout.placements) {
    for (const Placement& placement : placements_)
        routers_.emplace_back(placement.expert_ids, num_experts);
    if (layout.layer_updates_per_iter > 0)
        balancer_.emplace(static_cast<int>(placements_.size()), num_experts, layout.ep_size,
                          num_slots_ / layout.ep_size, layout.layer_updates_per_iter);
}

std::optional<int> Counter::cycle_length() const {
    return balancer_ ? std::optional(balancer_->plan().cycle_length()) : std::nullopt;
}

void Counter::count(int layer,
                    std::span<const std::int32_t> rank_begin,
                    std::span<std::int32_t> ids,
                    std::span<std::int64_t> counts) const {
    for (std::size_t rank = 0; rank + 1 < rank_begin.size(); ++rank) {
        const auto begin =
            static_cast<std::size_t>(rank_begin[rank]) * static_cast<std::size_t>(top_k_);
        const auto end =
            static_cast<std::size_t>(rank_begin[rank + 1]) * static_cast<std::size_t>(top_k_);
        const std::span<std::int32_t> rank_ids = ids.subspan(begin, end - begin);
        if (are_slots_)
            routers_[layer].route(rank_ids, first_rank_ + static_cast<int>(rank), rank_ids);
        std::int64_t* const row = counts.data() + rank * static_cast<std::size_t>(num_slots_);
        for (const std::int32_t slot : rank_ids)
            ++row[slot];
    }
}

int Counter::rebalance(std::int64_t iteration,
                       int layer,
                       std::span<const std::int64_t> expert_counts) {
    std::optional<Placement> next = balancer_->update(iteration, layer, expert_counts);
    if (!next)
        return 0;
    int num_moved = 0;
    for (int slot = 0; slot < num_slots_; ++slot)
        num_moved += next->expert_ids[slot] != placements_[layer].expert_ids[slot] ? 1 : 0;
    placements_[layer] = std::move(*next);
    routers_[layer] = SlotRouter(placements_[layer].expert_ids, num_experts_);
    return num_moved;
}

}  // namespace eplb
