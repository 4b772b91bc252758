#ifndef EPLB_COLLECT_BATCH_H
#define EPLB_COLLECT_BATCH_H

#include <cstdint>
#include <vector>

#include "lib/collect/expert_layout.h"
#include "lib/collect/schedule.h"

namespace eplb {

// Consecutive tokens of one sequence, as rows of the hidden states.
struct SequencePiece {
    std::int32_t sequence = 0;
    std::int32_t first_position = 0;
    std::int32_t num_tokens = 0;
    std::int32_t first_row = 0;
};

// Tokens that go through the layers together, as one device sees them: those of its own ranks,
// sequence after sequence.
struct Batch {
    std::vector<SequencePiece> pieces;    // rows from 0 on
    std::vector<std::int32_t> token_ids;  // [rows]
    int most_rows = 0;                    // of any device

    // What is counted in an iteration.
    struct Iteration {
        std::int64_t id = 0;
        std::vector<std::int32_t> rows;        // rank after rank, in the order of its tokens
        std::vector<std::int32_t> rank_begin;  // [ranks of this device + 1], into rows
    };
    std::vector<Iteration> iterations;

    int num_rows() const { return static_cast<int>(token_ids.size()); }
};

// Cuts a schedule into batches: all of it at once, or iteration by iteration. A sequence belongs to
// the device that carries its rank.
class Batches {
  public:
    // Device `device` carries num_ranks ranks.
    Batches(const TokenSchedule& schedule, int device, int num_ranks, LoopOrder order);

    bool next(Batch& batch);  // false at the end

  private:
    Batch make_batch(const std::vector<std::int32_t>& end);
    Batch::Iteration cut(const TokenSchedule::Iteration& iteration, std::int64_t id) const;

    const TokenSchedule& schedule_;
    int device_;
    int num_ranks_;
    LoopOrder order_;
    std::vector<int> device_of_sequence_;        // [num_sequences]
    std::vector<std::int32_t> sequence_of_row_;  // of the schedule's rows
    std::vector<std::int32_t> num_done_;         // tokens of each sequence
    std::vector<std::int32_t> row_here_;         // of the schedule's rows, in the batch
    std::size_t next_iteration_ = 0;
};

}  // namespace eplb

#endif
