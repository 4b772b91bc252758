#ifndef EPLB_COLLECT_SLOT_COUNTER_H
#define EPLB_COLLECT_SLOT_COUNTER_H

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/collect/online_balancer.h"
#include "lib/model/model_config.h"
#include "lib/placement/placement.h"
#include "lib/placement/route/slot_router.h"

namespace eplb {

// Counts the slots that routed ids go to, layer by layer and iteration by iteration, and re-places
// layers where the config says so. Slots are where an engine's expert-parallel ranks would have the
// experts; no weights are moved here, since what a token computes does not depend on them.
class SlotCounter {
  public:
    // Throws an Error where the config does not fit the model or ep_size.
    SlotCounter(const MoeModelConfig& model, int ep_size, const std::optional<EplbConfig>& config);

    int num_slots() const { return num_slots_; }

    // One layer (a position among the MoE layers) of one iteration; a layer's iterations come in
    // order. ids: the experts of the iteration's tokens, rank after rank, [tokens][top_k], which
    // become their slots. counts: [ep_size][num_slots], added to.
    void count(std::int64_t iteration,
               int layer,
               std::span<const std::int32_t> rank_begin,
               std::span<std::int32_t> ids,
               std::span<std::int64_t> counts);

    std::int64_t num_moved_slots() const { return num_moved_slots_; }

  private:
    int top_k_;
    int num_experts_;
    int num_slots_;
    std::vector<Placement> placements_;  // [num_layers]
    std::vector<SlotRouter> routers_;    // [num_layers]
    std::optional<OnlineBalancer> balancer_;
    std::int64_t num_moved_slots_ = 0;
};

}  // namespace eplb

#endif
