#ifndef EPLB_PLACEMENT_ROUTE_SLOT_ROUTER_H
#define EPLB_PLACEMENT_ROUTE_SLOT_ROUTER_H

#include <cstdint>
#include <span>
#include <vector>

namespace eplb {

constexpr int kRoutingBlock = 1024;

// The replica that the n-th appearance (from 0) of an expert in block `block` goes to.
inline std::int32_t replica_of(std::int64_t n,
                               std::int64_t block,
                               int source_rank,
                               std::int32_t num_replicas) {
    return static_cast<std::int32_t>((n + block + source_rank) % num_replicas);
}

// Expert ids to slot ids of a placement, by TensorRT-LLM's routing kernel
// (moeLoadBalanceKernels.cu): ids are flattened [token][top_k] and cut into blocks of
// kRoutingBlock; an expert's appearances in a block go to replica_of(), replicas in ascending slot
// order. Round robin: it looks at neither load nor locality.
class SlotRouter {
  public:
    // expert_ids: [num_slots], the expert in each slot; every expert in [0, num_experts) at least
    // once.
    SlotRouter(std::span<const int> expert_ids, int num_experts);

    int num_experts() const { return static_cast<int>(start_.size()) - 1; }
    int num_slots() const { return static_cast<int>(slot_ids_.size()); }
    int num_replicas(int expert) const;
    std::span<const std::int32_t> replica_slots(int expert) const;  // ascending slot ids

    // expert_ids and slot_ids: [num_tokens * top_k], may be the same memory. The first id is the
    // first of a block (a chunk starts its blocks anew). Ids outside [0, num_experts) become
    // num_slots, as upstream's invalid slot.
    void route(std::span<const std::int32_t> expert_ids,
               int source_rank,
               std::span<std::int32_t> slot_ids) const;

  private:
    std::vector<std::int32_t> start_;     // [num_experts + 1], into slot_ids_
    std::vector<std::int32_t> slot_ids_;  // [num_slots], by expert, ascending
};

}  // namespace eplb

#endif
