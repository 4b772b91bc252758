#include "lib/collect/schedule.h"

#include <set>

#include "tests/test_support.h"

namespace eplb::test_schedule {

namespace {

Request request(std::vector<std::int32_t> input, std::vector<std::int32_t> output = {}) {
    return {std::move(input), std::move(output)};
}

// token ids of an iteration's ranks
std::vector<std::vector<std::int32_t>> tokens(const TokenSchedule& schedule, int iteration) {
    const TokenSchedule::Iteration& cut = schedule.iterations[iteration];
    std::vector<std::vector<std::int32_t>> ranks;
    for (std::size_t rank = 0; rank + 1 < cut.rank_begin.size(); ++rank) {
        ranks.emplace_back();
        for (std::int32_t i = cut.rank_begin[rank]; i < cut.rank_begin[rank + 1]; ++i)
            ranks.back().push_back(schedule.token_ids[cut.rows[i]]);
    }
    return ranks;
}

using Ranks = std::vector<std::vector<std::int32_t>>;

}  // namespace

TEST_CASE("prompts and outputs are taken one after another, rank by rank") {
    const std::vector<Request> requests = {request({1, 2, 3}, {4, 5}), request({10, 11}, {12}),
                                           request({20}), request({}), request({30, 31})};
    const TokenSchedule schedule = make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 4});
    REQUIRE(schedule.iterations.size() == 2);
    CHECK(tokens(schedule, 0) == Ranks{{1, 2, 3, 4}, {10, 11, 12}});
    CHECK(tokens(schedule, 1) == Ranks{{5, 20, 30, 31}, {}});
    CHECK(schedule.token_ids == std::vector<std::int32_t>{1, 2, 3, 4, 5, 10, 11, 12, 20, 30, 31});
    CHECK(schedule.sequence_begin == std::vector<std::int32_t>{0, 5, 8, 9, 11});

    const TokenSchedule prompts =
        make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 4, .segment = Segment::prompt});
    REQUIRE(prompts.iterations.size() == 2);
    CHECK(tokens(prompts, 0) == Ranks{{1, 2, 3, 20}, {10, 11}});
    CHECK(tokens(prompts, 1) == Ranks{{30, 31}, {}});
    // outputs are not even computed
    CHECK(prompts.token_ids == std::vector<std::int32_t>{1, 2, 3, 10, 11, 20, 30, 31});
}

TEST_CASE("decoding takes a token of every running request") {
    const std::vector<Request> requests = {request({1}, {2, 3, 4}), request({10}, {11}),
                                           request({20}), request({30, 31}, {32, 33}),
                                           request({40}, {41})};
    const TokenSchedule schedule =
        make_schedule(requests, {.ep_size = 1, .tokens_per_rank = 2, .segment = Segment::output});
    REQUIRE(schedule.iterations.size() == 4);
    CHECK(tokens(schedule, 0) == Ranks{{2, 11}});
    CHECK(tokens(schedule, 1) == Ranks{{3, 32}});
    CHECK(tokens(schedule, 2) == Ranks{{4, 33}});
    CHECK(tokens(schedule, 3) == Ranks{{41}});
    // their prompts are computed; the request without an output is not
    CHECK(schedule.token_ids ==
          std::vector<std::int32_t>{1, 2, 3, 4, 10, 11, 30, 31, 32, 33, 40, 41});
}

TEST_CASE("only what the range depends on is computed") {
    const std::vector<Request> requests = {request({1, 2, 3, 4, 5, 6}), request({10, 11, 12, 13})};
    const TokenSchedule schedule =
        make_schedule(requests, {.ep_size = 1, .tokens_per_rank = 2, .start = 1, .stop = 2});
    CHECK(schedule.first_iteration == 1);
    REQUIRE(schedule.iterations.size() == 1);
    CHECK(tokens(schedule, 0) == Ranks{{3, 4}});
    CHECK(schedule.token_ids == std::vector<std::int32_t>{1, 2, 3, 4});
    const TokenSchedule last =
        make_schedule(requests, {.ep_size = 1, .tokens_per_rank = 2, .start = 4, .stop = 9});
    CHECK(last.token_ids == std::vector<std::int32_t>{10, 11, 12, 13});
    CHECK(last.iterations.size() == 1);

    CHECK(test::error_of([&] {
              make_schedule(requests, {.ep_size = 1, .tokens_per_rank = 2, .start = 5});
          }).find("iteration 5") != std::string::npos);
    CHECK(test::error_of([&] {
              make_schedule(requests, {.ep_size = 1, .segment = Segment::output});
          }).find("output_ids") != std::string::npos);
}

TEST_CASE("every token is in one iteration, and a rank never sees another's request") {
    std::vector<Request> requests;
    std::int32_t next = 0;
    for (int i = 0; i < 40; ++i) {
        Request made;
        for (int t = 0; t < i * 7 % 11; ++t)
            made.input_ids.push_back(next++);
        for (int t = 0; t < i * 5 % 9; ++t)
            made.output_ids.push_back(next++);
        requests.push_back(made);
    }
    for (const int ep_size : {1, 3, 8}) {
        const TokenSchedule schedule =
            make_schedule(requests, {.ep_size = ep_size, .tokens_per_rank = 5});
        std::set<std::int32_t> seen;
        for (int i = 0; i < static_cast<int>(schedule.iterations.size()); ++i) {
            const Ranks ranks = tokens(schedule, i);
            for (int rank = 0; rank < ep_size; ++rank) {
                CHECK(ranks[rank].size() <= 5);
                for (const std::int32_t token : ranks[rank])
                    CHECK(seen.insert(token).second);
            }
        }
        CHECK(static_cast<std::int32_t>(seen.size()) == next);
    }
}

}  // namespace eplb::test_schedule
