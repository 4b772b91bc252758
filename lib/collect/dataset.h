#ifndef EPLB_COLLECT_DATASET_H
#define EPLB_COLLECT_DATASET_H

#include <cstdint>
#include <string>
#include <vector>

#include "lib/collect/expert_parallel.h"
#include "lib/model/synthetic.h"

namespace eplb {

// Where the tokens of the iterations come from.
class TokenSource {
  public:
    virtual ~TokenSource() = default;

    // The tokens of iteration 0, 1, 2, … in turn; none at the end of the data.
    virtual IterationTokens next() = 0;
};

// Every rank's tokens_per_rank tokens of synthetic traffic, without end.
class SyntheticTokens final : public TokenSource {
  public:
    SyntheticTokens(const SyntheticTraffic& traffic, int ep_size, int tokens_per_rank);
    IterationTokens next() override;

  private:
    SyntheticTraffic traffic_;
    int ep_size_;
    int tokens_per_rank_;
    std::int64_t iteration_ = 0;
};

// A prompt and, where it was recorded, the answer to it.
struct Request {
    std::vector<std::int32_t> input_ids;
    std::vector<std::int32_t> output_ids;
};

// The requests of a dataset as TensorRT-LLM's prepare_dataset.py --stdout writes it:
// one JSON object per line, ids in "input_ids" (or "logits", its older name), those of a recorded
// answer in "output_ids"; other members are ignored. Blank lines are skipped. Errors name the line:
// no JSON, text without ids, ids outside [0, vocab_size), no request at all.
std::vector<Request> read_dataset(const std::string& path, int vocab_size);

// Prompts dealt out to the ranks in turn; each rank takes its requests one after another,
// tokens_per_rank tokens an iteration, until all ranks have run dry. Ranks that end earlier have
// fewer tokens or none.
class DatasetTokens final : public TokenSource {
  public:
    DatasetTokens(const std::vector<Request>& requests, int ep_size, int tokens_per_rank);
    IterationTokens next() override;

  private:
    std::vector<std::vector<std::int32_t>> rank_tokens_;  // [ep_size]
    std::size_t tokens_per_rank_;
    std::size_t position_ = 0;
};

}  // namespace eplb

#endif
