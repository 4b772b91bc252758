#include "lib/placement/problem/slot_table.h"

#include <utility>

namespace eplb {

SlotTable::SlotTable(Placement placement, int num_experts)
    : placement_(std::move(placement)),
      num_experts_(num_experts),
      replica_count_(eplb::replica_counts(placement_.expert_ids, num_experts)),
      hosted_(static_cast<std::size_t>(placement_.ep_size) *
              static_cast<std::size_t>(num_experts)) {
    for (int slot = 0; slot < num_slots(); ++slot)
        ++hosted_[cell(rank_of(slot), expert(slot))];
}

void SlotTable::swap(int slot, int other) {
    int& left = placement_.expert_ids[slot];
    int& right = placement_.expert_ids[other];
    --hosted_[cell(rank_of(slot), left)];
    --hosted_[cell(rank_of(other), right)];
    std::swap(left, right);
    ++hosted_[cell(rank_of(slot), left)];
    ++hosted_[cell(rank_of(other), right)];
}

void SlotTable::replace(int slot, int expert) {
    int& held = placement_.expert_ids[slot];
    --replica_count_[held];
    --hosted_[cell(rank_of(slot), held)];
    held = expert;
    ++replica_count_[held];
    ++hosted_[cell(rank_of(slot), held)];
}

}  // namespace eplb
