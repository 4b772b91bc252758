#ifndef EPLB_COLLECT_COUNTER_H
#define EPLB_COLLECT_COUNTER_H

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/collect/expert_layout.h"
#include "lib/collect/online_balancer.h"
#include "lib/placement/route/slot_router.h"

namespace eplb {

// Turns routed experts into slots, counts these, and re-places layers where the config says so: the
// one place that does any of it. Layers are positions among the MoE layers; a layer's iterations
// come in order.
class Counter {
  public:
    // For source ranks from first_rank on.
    Counter(const ExpertLayout& layout, int num_experts, int top_k, int first_rank);

    int num_slots() const { return num_slots_; }
    const Placement& placement(int layer) const { return placements_[layer]; }
    // Iterations until every layer had its turn; nothing where placements stay.
    std::optional<int> cycle_length() const;

    // ids: the experts of an iteration's tokens, rank after rank, [tokens][top_k], which become
    // their slots. rank_begin: [num_ranks + 1], tokens. counts: [num_ranks][num_slots], added to.
    void count(int layer,
               std::span<const std::int32_t> rank_begin,
               std::span<std::int32_t> ids,
               std::span<std::int64_t> counts) const;

    // Takes the counts of experts in the iteration, of all source ranks, [num_experts]. Returns how
    // many slots changed: 0 where it is not the layer's turn.
    int rebalance(std::int64_t iteration, int layer, std::span<const std::int64_t> expert_counts);

  private:
    int num_experts_;
    int num_slots_;
    int top_k_;
    int first_rank_;
    bool are_slots_;                     // else experts are counted as they are
    std::vector<Placement> placements_;  // [MoE layers]
    std::vector<SlotRouter> routers_;    // [MoE layers]
    std::optional<OnlineBalancer> balancer_;
};

}  // namespace eplb

#endif
