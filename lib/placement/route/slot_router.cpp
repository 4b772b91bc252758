#include "lib/placement/route/slot_router.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "lib/placement/placement.h"

namespace eplb {

SlotRouter::SlotRouter(std::span<const int> expert_ids, int num_experts)
    : start_(static_cast<std::size_t>(num_experts) + 1), slot_ids_(expert_ids.size()) {
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
    const auto i = static_cast<std::size_t>(expert);
    return start_[i + 1] - start_[i];
}

std::span<const std::int32_t> SlotRouter::replica_slots(int expert) const {
    return std::span(slot_ids_).subspan(static_cast<std::size_t>(start_[expert]),
                                        static_cast<std::size_t>(num_replicas(expert)));
}

void route_to_slots(const SlotReplicas& replicas,
                    std::span<const std::int32_t> expert_ids,
                    int source_rank,
                    std::span<std::int32_t> slot_ids) {
    assert(expert_ids.size() == slot_ids.size() && source_rank >= 0);
    const std::span<const std::int32_t> start = replicas.start;
    const auto num_experts = static_cast<std::uint32_t>(start.size() - 1);
    // position in replicas.slot_ids of each expert's next slot
    std::vector<std::int32_t> next(num_experts);
    for (std::size_t first = 0; first < expert_ids.size(); first += kRoutingBlock) {
        const auto block = static_cast<std::int64_t>(first / kRoutingBlock);
        for (std::size_t expert = 0; expert < num_experts; ++expert) {
            const std::int32_t count = start[expert + 1] - start[expert];
            next[expert] = start[expert] + replica_of(0, block, source_rank, count);
        }
        const std::size_t stop = std::min(first + kRoutingBlock, expert_ids.size());
        for (std::size_t i = first; i < stop; ++i) {
            const auto expert =
                static_cast<std::uint32_t>(expert_ids[i]);  // -1 becomes the largest
            if (expert >= num_experts) {
                slot_ids[i] = static_cast<std::int32_t>(replicas.slot_ids.size());
                continue;
            }
            std::int32_t& position = next[expert];
            slot_ids[i] = replicas.slot_ids[position];
            if (++position == start[expert + 1])
                position = start[expert];
        }
    }
}

}  // namespace eplb
