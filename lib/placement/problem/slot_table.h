#ifndef EPLB_PLACEMENT_PROBLEM_SLOT_TABLE_H
#define EPLB_PLACEMENT_PROBLEM_SLOT_TABLE_H

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/placement/placement.h"

namespace eplb {

// A placement that a search changes: it knows at once how many replicas an expert has and whether a
// rank holds it.
class SlotTable {
  public:
    // Every id must be in [0, num_experts).
    SlotTable(Placement placement, int num_experts);

    int num_experts() const { return num_experts_; }
    int ep_size() const { return placement_.ep_size; }
    int slots_per_rank() const { return placement_.slots_per_rank; }
    int num_slots() const { return placement_.num_slots(); }
    const Placement& placement() const { return placement_; }

    int expert(int slot) const { return placement_.expert_ids[slot]; }
    int rank_of(int slot) const { return slot / placement_.slots_per_rank; }
    std::span<const int> rank(int rank_id) const { return placement_.rank(rank_id); }
    std::span<const int> replica_counts() const { return replica_count_; }
    int replicas(int expert) const { return replica_count_[expert]; }
    bool hosts(int rank_id, int expert) const { return copies(rank_id, expert) > 0; }
    // in how many slots of the rank the expert stands
    int copies(int rank_id, int expert) const { return hosted_[cell(rank_id, expert)]; }

    // Whether exchanging the two slots' experts puts no expert twice on a rank. The ranks differ.
    bool may_swap(int slot, int other) const {
        return !hosts(rank_of(slot), expert(other)) && !hosts(rank_of(other), expert(slot));
    }
    void swap(int slot, int other);
    void replace(int slot, int expert);

  private:
    std::size_t cell(int rank_id, int expert) const {
        return static_cast<std::size_t>(rank_id) * static_cast<std::size_t>(num_experts_) +
               static_cast<std::size_t>(expert);
    }

    Placement placement_;
    int num_experts_;
    std::vector<int> replica_count_;     // [num_experts]
    std::vector<std::uint16_t> hosted_;  // [ep_size][num_experts], slots of the rank with it
};

}  // namespace eplb

#endif
