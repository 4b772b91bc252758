#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_NUM_TOKENS_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_NUM_TOKENS_H

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/formats/statistics/rank_files.h"

// rank{r}_numtokens.json, which one of upstream's recorders writes beside the counts:
//
//   {"{iteration}_{layer}": tokens of source rank r, …}
//
// That recorder counts with torch.bincount, which takes no -1: all ids are routed, so that tokens *
// top_k is the sum of the counts.
namespace eplb {

class TrtllmNumTokens {
  public:
    // Reads the files of `folder`, if there are any, for the counts in `recording`. Error: no valid
    // JSON, another number of ranks, other keys, no number of tokens.
    TrtllmNumTokens(const std::filesystem::path& folder, const RankFiles& recording);

    bool are_given() const { return !names_.empty(); }

    // Throws where a cell's counts, which sum to sum_of_counts, are not those of the tokens. layer:
    // a position.
    void check(int source,
               std::int64_t iteration_id,
               int layer,
               int top_k,
               std::int64_t sum_of_counts) const;

  private:
    const RankFiles& recording_;
    std::vector<std::string> names_;                     // [ep_size] or none
    std::vector<std::vector<std::int64_t>> num_tokens_;  // [ep_size][iterations][layers]
};

}  // namespace eplb

#endif
