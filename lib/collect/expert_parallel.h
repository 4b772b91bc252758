#ifndef EPLB_COLLECT_EXPERT_PARALLEL_H
#define EPLB_COLLECT_EXPERT_PARALLEL_H

#include <cstdint>
#include <span>
#include <vector>

#include "lib/model/synthetic.h"
#include "lib/placement/placement.h"
#include "lib/placement/slot_router.h"

namespace eplb {

// The tokens of one iteration, rank after rank: those of rank r are [rank_begin[r],
// rank_begin[r + 1]).
struct IterationTokens {
    std::vector<std::int32_t> token_ids;
    std::vector<std::int32_t> rank_begin;  // [ep_size + 1]

    int num_tokens() const { return static_cast<int>(token_ids.size()); }
};

// How many chunks an iteration is cut into so that about max_num_tokens tokens, over all ranks, are
// under way at once: ceil(num_tokens / max_num_tokens), 1 where max_num_tokens is 0 (no bound).
int num_chunks(std::int64_t num_tokens, int max_num_tokens);

// Tokens of one rank in one chunk, as [begin, end): the first n mod num_chunks chunks have one
// more than the rest.
struct TokenRange {
    std::int32_t begin = 0;
    std::int32_t end = 0;
};
TokenRange chunk_of(std::int32_t num_tokens, int num_chunks, int chunk);

// Which row of the expert buffers every (token, k) pair of a chunk takes: rows are ordered by slot,
// then by source rank and token. What a target rank receives is one contiguous range of rows.
struct DispatchPlan {
    std::vector<std::int32_t> slot_begin;   // [num_slots + 1], rows of each slot
    std::vector<std::int32_t> rows;         // [tokens of the chunk][top_k] -> row
    std::vector<std::int32_t> source_rows;  // [row] -> token of the iteration

    // tokens: the chunk's, as positions in the iteration. slot_ids: [num_tokens of the
    // iteration][top_k], each in [0, num_slots).
    void build(std::span<const std::int32_t> tokens,
               std::span<const std::int32_t> slot_ids,
               int top_k,
               int num_slots);
};

// One layer's experts in the slots of all ranks: which expert is where, how ids map to slots, and
// the weights that each slot holds.
class LayerSlots {
  public:
    LayerSlots(const SyntheticModel& model, int layer, Placement placement);
    LayerSlots(LayerSlots&&) = default;  // not copied: slot_weights_ points into weights_
    LayerSlots& operator=(LayerSlots&&) = default;

    const Placement& placement() const { return placement_; }
    const SlotRouter& router() const { return router_; }
    std::span<const MlpWeights> slot_weights() const { return slot_weights_; }  // [num_slots]

    // Moves weights between slots until they match `placement` (same shape). Every expert must
    // stand somewhere now. Returns how many slots changed.
    int move_to(const Placement& placement);

  private:
    std::size_t expert_size_;  // weights of one expert
    Placement placement_;
    SlotRouter router_;
    std::vector<float> weights_;  // [num_slots][expert_size]
    std::vector<MlpWeights> slot_weights_;
};

}  // namespace eplb

#endif
