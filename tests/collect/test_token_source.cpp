#include "lib/collect/token_source.h"

#include <numeric>

#include "tests/test_support.h"

namespace eplb::test_token_source {

namespace {

using Ids = std::vector<std::int32_t>;

// Rows in order, a sequence for each rank.
void check_iteration(const TokenSchedule& schedule, std::int64_t id) {
    CHECK(schedule.first_iteration == id);
    REQUIRE(schedule.iterations.size() == 1);
    Ids rows(schedule.token_ids.size());
    std::iota(rows.begin(), rows.end(), 0);
    CHECK(schedule.iterations.front().rows == rows);
    CHECK(schedule.iterations.front().rank_begin == schedule.sequence_begin);
}

}  // namespace

TEST_CASE("ranks take requests in turn, and iterations end when all have run dry") {
    DatasetTokens source({{{1, 2, 3}, {}}, {{10}, {}}, {{4, 5}, {}}, {}, {{6}, {}}}, 2, 2);
    // rank 0: 1 2 3 4 5 6; rank 1: 10
    const std::vector<Ids> token_ids = {{1, 2, 10}, {3, 4}, {5, 6}};
    const std::vector<Ids> begin = {{0, 2, 3}, {0, 2, 2}, {0, 2, 2}};
    for (std::size_t i = 0; i < 3; ++i) {
        const std::optional<TokenSchedule> schedule = source.next();
        REQUIRE(schedule);
        check_iteration(*schedule, static_cast<std::int64_t>(i));
        CHECK(schedule->token_ids == token_ids[i]);
        CHECK(schedule->sequence_begin == begin[i]);
    }
    CHECK_FALSE(source.next());
    CHECK_FALSE(source.next());
}

TEST_CASE("synthetic traffic has every rank's tokens of every iteration, without end") {
    const SyntheticTraffic traffic(1000, 4);
    SyntheticTokens source(traffic, 3, 5);
    for (std::int64_t i = 0; i < 4; ++i) {
        const std::optional<TokenSchedule> schedule = source.next();
        REQUIRE(schedule);
        check_iteration(*schedule, i);
        CHECK(schedule->sequence_begin == Ids{0, 5, 10, 15});
        for (int rank = 0; rank < 3; ++rank) {
            Ids expected(5);
            traffic.make_tokens(i, rank, expected);
            CHECK(Ids(schedule->token_ids.begin() + 5 * rank,
                      schedule->token_ids.begin() + 5 * (rank + 1)) == expected);
        }
    }
}

TEST_CASE("a whole schedule comes once") {
    TokenSchedule schedule;
    schedule.token_ids = {7};
    WholeSchedule source(schedule);
    CHECK(source.next()->token_ids == schedule.token_ids);
    CHECK_FALSE(source.next());
}

}  // namespace eplb::test_token_source
