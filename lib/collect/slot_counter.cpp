#include "lib/collect/slot_counter.h"

#include "lib/collect/initial_placement.h"

namespace eplb {

SlotCounter::SlotCounter(const MoeModelConfig& model,
                         int ep_size,
                         const std::optional<EplbConfig>& config)
    : top_k_(model.router.top_k), num_experts_(model.router.num_experts) {
    check_deployment(model, ep_size, config);
    num_slots_ = config ? config->num_slots : num_experts_;
    for (int layer = 0; layer < model.num_layers(); ++layer) {
        placements_.push_back(initial_placement(model, layer, ep_size, config));
        routers_.emplace_back(placements_.back().expert_ids, num_experts_);
    }
    if (config && config->layer_updates_per_iter > 0)
        balancer_.emplace(model.num_layers(), num_experts_, ep_size, num_slots_ / ep_size,
                          config->layer_updates_per_iter);
}

void SlotCounter::count(std::int64_t iteration,
                        int layer,
                        std::span<const std::int32_t> rank_begin,
                        std::span<std::int32_t> ids,
                        std::span<std::int64_t> counts) {
    const auto at = static_cast<std::size_t>(layer);
    const auto top_k = static_cast<std::size_t>(top_k_);
    const auto num_slots = static_cast<std::size_t>(num_slots_);
    std::vector<std::int64_t> expert_counts(num_experts_);
    for (std::size_t rank = 0; rank + 1 < rank_begin.size(); ++rank) {
        const auto begin = static_cast<std::size_t>(rank_begin[rank]) * top_k;
        const auto size = static_cast<std::size_t>(rank_begin[rank + 1]) * top_k - begin;
        const std::span<std::int32_t> rank_ids = ids.subspan(begin, size);
        for (const std::int32_t expert : rank_ids)
            ++expert_counts[expert];
        routers_[at].route(rank_ids, static_cast<int>(rank), rank_ids);
        for (const std::int32_t slot : rank_ids)
            ++counts[rank * num_slots + static_cast<std::size_t>(slot)];
    }
    if (!balancer_)
        return;
    if (std::optional<Placement> next = balancer_->update(iteration, layer, expert_counts)) {
        for (std::size_t slot = 0; slot < num_slots; ++slot)
            num_moved_slots_ += next->expert_ids[slot] != placements_[at].expert_ids[slot] ? 1 : 0;
        placements_[at] = std::move(*next);
        routers_[at] = SlotRouter(placements_[at].expert_ids, num_experts_);
    }
}

}  // namespace eplb
