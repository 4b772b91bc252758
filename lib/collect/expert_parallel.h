#ifndef EPLB_COLLECT_EXPERT_PARALLEL_H
#define EPLB_COLLECT_EXPERT_PARALLEL_H

#include <cstdint>
#include <vector>

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

}  // namespace eplb

#endif
