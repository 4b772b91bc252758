#include "lib/placement/route/slot_router.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "lib/placement/placement.h"

namespace eplb {

SlotRouter::SlotRouter(std::span<const int> expert_ids, int num_experts)
    : start_(num_experts + 1), slot_ids_(expert_ids.size()) {
    const std::vector<int> counts = covering_replica_counts(expert_ids, num_experts);
    std::partial_sum(counts.begin(), counts.end(), start_.begin() + 1);
    std::vector<std::int32_t> next(start_.begin(), start_.end() - 1);
    for (std::size_t slot = 0; slot < expert_ids.size(); ++slot) {
        std::int32_t& position = next[expert_ids[slot]];
        slot_ids_[position++] = static_cast<std::int32_t>(slot);
    }
}

int SlotRouter::num_replicas(int expert) const {
    assert(expert >= 0 && expert < num_experts());
    return start_[expert + 1] - start_[expert];
}

std::span<const std::int32_t> SlotRouter::replica_slots(int expert) const {
    return std::span(slot_ids_).subspan(start_[expert], num_replicas(expert));
}

void SlotRouter::route(std::span<const std::int32_t> expert_ids,
                       int source_rank,
                       std::span<std::int32_t> slot_ids) const {
    assert(expert_ids.size() == slot_ids.size() && source_rank >= 0);
    // position in slot_ids_ of each expert's next slot
    std::vector<std::int32_t> next(num_experts());
    for (std::size_t first = 0; first < expert_ids.size(); first += kRoutingBlock) {
        const auto block = static_cast<std::int64_t>(first / kRoutingBlock);
        for (int expert = 0; expert < num_experts(); ++expert)
            next[expert] = start_[expert] + replica_of(0, block, source_rank, num_replicas(expert));
        const std::size_t stop = std::min(first + kRoutingBlock, expert_ids.size());
        for (std::size_t i = first; i < stop; ++i) {
            const std::int32_t expert = expert_ids[i];
            if (expert < 0 || expert >= num_experts()) {
                slot_ids[i] = num_slots();
                continue;
            }
            std::int32_t& position = next[expert];
            slot_ids[i] = slot_ids_[position];
            if (++position == start_[expert + 1])
                position = start_[expert];
        }
    }
}

}  // namespace eplb
