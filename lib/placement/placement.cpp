#include "lib/placement/placement.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "lib/base/error.h"

namespace eplb {

std::span<const int> Placement::rank(int rank_id) const {
    assert(rank_id >= 0 && rank_id < ep_size);
    return std::span(expert_ids).subspan(rank_id * slots_per_rank, slots_per_rank);
}

std::span<int> Placement::rank(int rank_id) {
    assert(rank_id >= 0 && rank_id < ep_size);
    return std::span(expert_ids).subspan(rank_id * slots_per_rank, slots_per_rank);
}

std::vector<int> replica_counts(std::span<const int> expert_ids, int num_experts) {
    std::vector<int> counts(num_experts);
    for (const int expert : expert_ids) {
        if (expert < 0 || expert >= num_experts)
            throw Error("expert id " + std::to_string(expert) + " in an assignment for " +
                        std::to_string(num_experts) + " experts: ids start at 0");
        ++counts[expert];
    }
    return counts;
}

std::vector<int> covering_replica_counts(std::span<const int> expert_ids, int num_experts) {
    std::vector<int> counts = replica_counts(expert_ids, num_experts);
    const auto missing = std::find(counts.begin(), counts.end(), 0);
    if (missing != counts.end())
        throw Error("expert " + std::to_string(missing - counts.begin()) +
                    " stands in no slot of the assignment: every expert needs one");
    return counts;
}

int num_duplicate_slots(const Placement& placement) {
    int num_duplicates = 0;
    std::vector<int> sorted;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        const std::span<const int> rank = placement.rank(rank_id);
        sorted.assign(rank.begin(), rank.end());
        std::sort(sorted.begin(), sorted.end());
        const auto num_distinct = std::unique(sorted.begin(), sorted.end()) - sorted.begin();
        num_duplicates += placement.slots_per_rank - static_cast<int>(num_distinct);
    }
    return num_duplicates;
}

}  // namespace eplb
