#ifndef EPLB_COLLECT_SCHEDULE_H
#define EPLB_COLLECT_SCHEDULE_H

#include <cstdint>
#include <vector>

#include "lib/collect/dataset.h"

namespace eplb {

// Whose tokens are counted.
enum class Segment {
    prompt,  // prefill
    output,  // decode
    all,
};

// Which tokens are computed and which iteration and rank each of them is counted in.
//
// Tokens are rows: sequence after sequence, each from its start. A sequence is a request's prompt
// followed by its recorded output, as far as it is needed.
struct TokenSchedule {
    std::vector<std::int32_t> token_ids;       // [rows]
    std::vector<std::int32_t> sequence_begin;  // [num_sequences + 1]

    struct Iteration {
        std::vector<std::int32_t> rows;        // rank after rank, in the order of the rank's tokens
        std::vector<std::int32_t> rank_begin;  // [ep_size + 1]
    };
    std::int64_t first_iteration = 0;  // id of iterations.front()
    std::vector<Iteration> iterations;

    int num_rows() const { return static_cast<int>(token_ids.size()); }
    int num_sequences() const { return static_cast<int>(sequence_begin.size()) - 1; }
};

struct ScheduleOptions {
    int ep_size = 1;
    int tokens_per_rank = 1;
    Segment segment = Segment::all;
    // iterations [start, stop), or to the end of the data
    std::int64_t start = 0;
    std::int64_t stop = INT64_MAX;
};

// Cuts requests into iterations as an engine with attention data parallelism does. Requests are
// dealt out to the ranks in turn.
//
// prompt, all: a rank takes its requests one after another, tokens_per_rank tokens an iteration
// (chunked prefill). output: a rank has tokens_per_rank requests running, each of which brings one
// token to an iteration; where one ends the rank's next request takes its place (decoding). The
// first output token is the first that is counted: it is the input of the first decoding step.
//
// Rows that no iteration in the range depends on are left out. Errors, to be put after the
// dataset's name: no token in the range, more rows than 2^31.
TokenSchedule make_schedule(const std::vector<Request>& requests, const ScheduleOptions& options);

}  // namespace eplb

#endif
