#include "lib/collect/token_source.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace eplb {
namespace {

// One iteration; token_ids: rank after rank.
TokenSchedule one_iteration(std::int64_t id,
                            std::vector<std::int32_t> token_ids,
                            std::vector<std::int32_t> rank_begin) {
    TokenSchedule schedule;
    schedule.first_iteration = id;
    TokenSchedule::Iteration iteration;
    iteration.rows.resize(token_ids.size());
    std::iota(iteration.rows.begin(), iteration.rows.end(), 0);
    iteration.rank_begin = rank_begin;
    schedule.iterations.push_back(std::move(iteration));
    schedule.token_ids = std::move(token_ids);
    schedule.sequence_begin = std::move(rank_begin);
    return schedule;
}

}  // namespace

SyntheticTokens::SyntheticTokens(const SyntheticTraffic& traffic, int ep_size, int tokens_per_rank)
    : traffic_(traffic), ep_size_(ep_size), tokens_per_rank_(tokens_per_rank) {}

std::optional<TokenSchedule> SyntheticTokens::next() {
    const auto per_rank = static_cast<std::size_t>(tokens_per_rank_);
    std::vector<std::int32_t> token_ids(static_cast<std::size_t>(ep_size_) * per_rank);
    std::vector<std::int32_t> rank_begin = {0};
    for (int rank = 0; rank < ep_size_; ++rank) {
        traffic_.make_tokens(
            iteration_, rank,
            std::span(token_ids).subspan(static_cast<std::size_t>(rank) * per_rank, per_rank));
        rank_begin.push_back(rank_begin.back() + tokens_per_rank_);
    }
    return one_iteration(iteration_++, std::move(token_ids), std::move(rank_begin));
}

DatasetTokens::DatasetTokens(const std::vector<Request>& requests, int ep_size, int tokens_per_rank)
    : rank_tokens_(ep_size), tokens_per_rank_(static_cast<std::size_t>(tokens_per_rank)) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
        std::vector<std::int32_t>& tokens = rank_tokens_[i % rank_tokens_.size()];
        tokens.insert(tokens.end(), requests[i].input_ids.begin(), requests[i].input_ids.end());
    }
}

std::optional<TokenSchedule> DatasetTokens::next() {
    std::vector<std::int32_t> token_ids;
    std::vector<std::int32_t> rank_begin = {0};
    const std::size_t position = static_cast<std::size_t>(iteration_) * tokens_per_rank_;
    for (const std::vector<std::int32_t>& tokens : rank_tokens_) {
        const std::size_t begin = std::min(position, tokens.size());
        const std::size_t end = std::min(begin + tokens_per_rank_, tokens.size());
        token_ids.insert(token_ids.end(), tokens.begin() + begin, tokens.begin() + end);
        rank_begin.push_back(static_cast<std::int32_t>(token_ids.size()));
    }
    if (token_ids.empty())
        return std::nullopt;
    return one_iteration(iteration_++, std::move(token_ids), std::move(rank_begin));
}

}  // namespace eplb
