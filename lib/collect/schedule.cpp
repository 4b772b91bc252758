#include "lib/collect/schedule.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

struct Token {
    std::int32_t request;
    std::int32_t position;
};

// The tokens that one rank brings to its iterations.
class RankTokens {
  public:
    virtual ~RankTokens() = default;
    virtual void take(int count, std::vector<Token>& tokens) = 0;  // fewer at the end
};

// request after request
class PrefillTokens final : public RankTokens {
  public:
    PrefillTokens(const std::vector<Request>& requests, std::vector<std::int32_t> own, bool outputs)
        : requests_(requests), own_(std::move(own)), outputs_(outputs) {}

    void take(int count, std::vector<Token>& tokens) override {
        while (count > 0 && next_ < own_.size()) {
            const Request& request = requests_[own_[next_]];
            const std::size_t size =
                request.input_ids.size() + (outputs_ ? request.output_ids.size() : 0);
            for (; count > 0 && position_ < size; --count)
                tokens.push_back({own_[next_], static_cast<std::int32_t>(position_++)});
            if (position_ == size) {
                position_ = 0;
                ++next_;
            }
        }
    }

  private:
    const std::vector<Request>& requests_;
    std::vector<std::int32_t> own_;
    bool outputs_;
    std::size_t next_ = 0;
    std::size_t position_ = 0;
};

// a token of each running request
class DecodeTokens final : public RankTokens {
  public:
    DecodeTokens(const std::vector<Request>& requests, std::vector<std::int32_t> own)
        : requests_(requests), own_(std::move(own)) {}

    void take(int count, std::vector<Token>& tokens) override {
        std::erase_if(running_, [&](const Token& token) { return is_over(token); });
        while (running_.size() < static_cast<std::size_t>(count) && next_ < own_.size()) {
            const std::int32_t request = own_[next_++];
            const Token first = {request,
                                 static_cast<std::int32_t>(requests_[request].input_ids.size())};
            if (!is_over(first))
                running_.push_back(first);
        }
        for (Token& token : running_) {
            tokens.push_back(token);
            ++token.position;
        }
    }

  private:
    bool is_over(const Token& token) const {
        const Request& request = requests_[token.request];
        return static_cast<std::size_t>(token.position) >=
               request.input_ids.size() + request.output_ids.size();
    }

    const std::vector<Request>& requests_;
    std::vector<std::int32_t> own_;
    std::size_t next_ = 0;
    std::vector<Token> running_;
};

std::vector<std::unique_ptr<RankTokens>> deal_out(const std::vector<Request>& requests,
                                                  const ScheduleOptions& options) {
    std::vector<std::unique_ptr<RankTokens>> ranks;
    for (int rank = 0; rank < options.ep_size; ++rank) {
        std::vector<std::int32_t> own;
        for (std::size_t i = static_cast<std::size_t>(rank); i < requests.size();
             i += static_cast<std::size_t>(options.ep_size))
            own.push_back(static_cast<std::int32_t>(i));
        if (options.segment == Segment::output)
            ranks.push_back(std::make_unique<DecodeTokens>(requests, std::move(own)));
        else
            ranks.push_back(std::make_unique<PrefillTokens>(requests, std::move(own),
                                                            options.segment == Segment::all));
    }
    return ranks;
}

}  // namespace

TokenSchedule make_schedule(const std::vector<Request>& requests, const ScheduleOptions& options) {
    TokenSchedule schedule;
    schedule.first_iteration = options.start;
    std::vector<std::vector<Token>> iterations;
    // how far each request is needed, and by which rank
    std::vector<std::int32_t> needed(requests.size());

    const std::vector<std::unique_ptr<RankTokens>> ranks = deal_out(requests, options);
    for (std::int64_t iteration = 0; iteration < options.stop; ++iteration) {
        std::vector<Token> tokens;
        TokenSchedule::Iteration cut;
        for (const std::unique_ptr<RankTokens>& rank : ranks) {
            cut.rank_begin.push_back(static_cast<std::int32_t>(tokens.size()));
            rank->take(options.tokens_per_rank, tokens);
        }
        cut.rank_begin.push_back(static_cast<std::int32_t>(tokens.size()));
        if (tokens.empty())
            break;
        if (iteration < options.start)
            continue;
        for (const Token& token : tokens) {
            std::int32_t& end = needed[token.request];
            end = std::max(end, token.position + 1);
        }
        iterations.push_back(std::move(tokens));
        schedule.iterations.push_back(std::move(cut));
    }
    if (iterations.empty())
        throw Error("the dataset has no token left for iteration " + std::to_string(options.start) +
                    (options.segment == Segment::output ? " (of the output_ids)" : ""));

    std::vector<std::int64_t> first_row(requests.size());
    std::int64_t num_rows = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
        first_row[i] = num_rows;
        num_rows += needed[i];
    }
    if (num_rows > std::numeric_limits<std::int32_t>::max())
        throw Error("has " + std::to_string(num_rows) +
                    " tokens, more than one run can hold; choose fewer iterations");
    schedule.sequence_begin.push_back(0);
    for (std::size_t i = 0; i < requests.size(); ++i) {
        if (needed[i] == 0)
            continue;
        const Request& request = requests[i];
        for (std::size_t position = 0; position < static_cast<std::size_t>(needed[i]); ++position)
            schedule.token_ids.push_back(
                position < request.input_ids.size()
                    ? request.input_ids[position]
                    : request.output_ids[position - request.input_ids.size()]);
        schedule.sequence_begin.push_back(schedule.num_rows());
    }
    for (std::size_t i = 0; i < iterations.size(); ++i)
        for (const Token& token : iterations[i])
            schedule.iterations[i].rows.push_back(
                static_cast<std::int32_t>(first_row[token.request] + token.position));
    return schedule;
}

}  // namespace eplb
