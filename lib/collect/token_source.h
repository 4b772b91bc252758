#ifndef EPLB_COLLECT_TOKEN_SOURCE_H
#define EPLB_COLLECT_TOKEN_SOURCE_H

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "lib/collect/dataset.h"
#include "lib/collect/schedule.h"
#include "lib/model/synthetic.h"

namespace eplb {

// What a run computes, schedule after schedule.
class TokenSource {
  public:
    virtual ~TokenSource() = default;
    virtual std::optional<TokenSchedule> next() = 0;  // nothing at the end of the data
};

// All of it at once, as a checkpoint's layers take it.
class WholeSchedule final : public TokenSource {
  public:
    explicit WholeSchedule(TokenSchedule schedule) : schedule_(std::move(schedule)) {}
    const TokenSchedule& schedule() const { return *schedule_; }  // before next()
    std::optional<TokenSchedule> next() override { return std::exchange(schedule_, std::nullopt); }

  private:
    std::optional<TokenSchedule> schedule_;
};

// Every rank's tokens_per_rank tokens of synthetic traffic, without end; an iteration at a time,
// each rank's tokens a sequence.
class SyntheticTokens final : public TokenSource {
  public:
    SyntheticTokens(const SyntheticTraffic& traffic, int ep_size, int tokens_per_rank);
    std::optional<TokenSchedule> next() override;

  private:
    SyntheticTraffic traffic_;
    int ep_size_;
    int tokens_per_rank_;
    std::int64_t iteration_ = 0;
};

// The same of prompts, dealt out to the ranks in turn; each rank takes its requests one after
// another, tokens_per_rank tokens an iteration, until all ranks have run dry. Ranks that end
// earlier have fewer tokens or none.
class DatasetTokens final : public TokenSource {
  public:
    DatasetTokens(const std::vector<Request>& requests, int ep_size, int tokens_per_rank);
    std::optional<TokenSchedule> next() override;

  private:
    std::vector<std::vector<std::int32_t>> rank_tokens_;  // [ep_size]
    std::size_t tokens_per_rank_;
    std::int64_t iteration_ = 0;
};

}  // namespace eplb

#endif
