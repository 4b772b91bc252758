#ifndef EPLB_PLACEMENT_ROUTE_REPLICA_REPLAY_H
#define EPLB_PLACEMENT_ROUTE_REPLICA_REPLAY_H

#include <atomic>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/route/slot_router.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// The tokens that TensorRT-LLM's round robin (slot_router.h) would have sent to each slot under
// other placements than those of the recording, to the token.
//
// Counts tell it where a source rank's ids of an iteration and layer are one routing block, at most
// kRoutingBlock ids: of n tokens of an expert with R replicas, replica j gets
// #{m in [0, n): (m + source_rank) mod R == j}. Routed ids tell it always. A recording that was cut
// into chunks, each of which begins its blocks anew, cannot be told from one that was not.
//
// It holds one integer per iteration and slot of an expert with several replicas; what the other
// slots get is the expert's count.
class ReplicaReplay {
  public:
    // placements: [layers]; iterations start at iter_start. num_iterations 0: not known yet; then
    // the calls of add_…() must come from one thread.
    ReplicaReplay(std::vector<Placement> placements,
                  int num_experts,
                  std::int64_t iter_start,
                  int num_iterations);

    const std::vector<Placement>& placements() const { return placements_; }
    bool has_replicas() const;  // whether any expert has several

    // A source rank's row, each (iteration, layer, source_rank) once; one iteration never from two
    // threads at once. iteration is an id, layer a position. counts: [num_experts]. Where they are
    // more than a block, of an expert with several replicas among them, is_exact() is false from
    // then on.
    void add_counts(std::int64_t iteration,
                    int layer,
                    int source_rank,
                    std::span<const std::int64_t> counts);

    // Forgets all rows; routed ids take their place, [num_tokens * top_k] of one chunk, -1: not
    // routed. is_exact() stays true then.
    void restart_from_ids();
    void add_ids(std::int64_t iteration,
                 int layer,
                 int source_rank,
                 std::span<const std::int32_t> ids);

    bool is_exact() const { return is_exact_.load(std::memory_order_relaxed); }
    bool is_from_ids() const { return is_from_ids_; }

    // [num_iterations][num_slots], where is_exact(). expert_load: the sums over source ranks of
    // what was added, from iteration iter_start on; all of its iterations must be there.
    LayerLoad slot_load(const LayerLoad& expert_load, std::int64_t iter_start, int layer) const;

  private:
    // An expert with several replicas.
    struct Shared {
        static constexpr int kShift = 40;
        std::size_t expert = 0;
        std::int64_t num_replicas = 0;
        std::int64_t reciprocal = 0;  // of num_replicas, times 2^kShift, a little above
        std::size_t first_cell = 0;   // in an iteration's cells: its replicas by slot id

        // n / num_replicas, for n * num_replicas < 2^kShift (Granlund and Montgomery, 1994)
        std::int64_t divide(std::int64_t n) const { return (n * reciprocal) >> kShift; }
    };
    struct Layer {
        SlotRouter router;
        std::vector<Shared> shared;
    };
    using Cells = std::vector<std::int64_t>;

    static void take_turns(std::int64_t* replicas,
                           const Shared& expert,
                           std::int64_t num_tokens,
                           int source_rank);
    void clear_cells();
    std::span<std::int64_t> cells_of(std::int64_t iteration);

    std::vector<Placement> placements_;
    std::vector<Layer> layers_;
    std::size_t num_cells_ = 0;  // of an iteration
    std::int64_t iter_start_;
    int num_iterations_;
    std::map<std::int64_t, Cells> cells_;  // by iteration id
    std::atomic<bool> is_exact_ = true;
    bool is_from_ids_ = false;
};

}  // namespace eplb

#endif
