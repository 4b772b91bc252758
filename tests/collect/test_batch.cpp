#include "lib/collect/batch.h"

#include <algorithm>

#include "tests/collect/runs.h"
#include "tests/test_support.h"

namespace eplb::test_batch {

namespace {

std::vector<Batch> batches_of(const TokenSchedule& schedule,
                              int device,
                              int num_ranks,
                              LoopOrder order) {
    Batches batches(schedule, device, num_ranks, order);
    std::vector<Batch> all;
    for (Batch batch; batches.next(batch);)
        all.push_back(batch);
    return all;
}

// the schedule's rows that are a batch's
std::vector<std::int32_t> schedule_rows(const TokenSchedule& schedule, const Batch& batch) {
    std::vector<std::int32_t> rows;
    for (const SequencePiece& piece : batch.pieces) {
        CHECK(piece.num_tokens > 0);
        CHECK(piece.first_row == static_cast<std::int32_t>(rows.size()));
        for (int t = 0; t < piece.num_tokens; ++t)
            rows.push_back(schedule.sequence_begin[piece.sequence] + piece.first_position + t);
    }
    return rows;
}

}  // namespace

TEST_CASE("every row is in one batch of one device, after those before it in its sequence") {
    constexpr int kEpSize = 4;
    for (const Segment segment : {Segment::prompt, Segment::output, Segment::all})
        for (const int num_requests : {3, 11, 40})  // of three requests one rank has none
            for (const int num_devices : {1, 2, 4})
                for (const LoopOrder order : {LoopOrder::by_layer, LoopOrder::by_iteration}) {
                    const TokenSchedule schedule = make_schedule(
                        test::requests_for(num_requests, 1000),
                        {.ep_size = kEpSize, .tokens_per_rank = 5, .segment = segment, .start = 1});
                    std::vector<int> next_position(schedule.num_sequences());
                    std::vector<int> num_seen(schedule.num_rows());
                    std::vector<std::vector<Batch>> devices;
                    for (int device = 0; device < num_devices; ++device)
                        devices.push_back(
                            batches_of(schedule, device, kEpSize / num_devices, order));
                    const std::size_t num_batches =
                        order == LoopOrder::by_layer ? 1 : schedule.iterations.size();
                    for (std::size_t b = 0; b < num_batches; ++b) {
                        int most_rows = 0;
                        for (const std::vector<Batch>& batches : devices) {
                            REQUIRE(batches.size() == num_batches);
                            const Batch& batch = batches[b];
                            most_rows = std::max(most_rows, batch.num_rows());
                            const std::vector<std::int32_t> rows = schedule_rows(schedule, batch);
                            REQUIRE(rows.size() == batch.token_ids.size());
                            for (std::size_t i = 0; i < rows.size(); ++i) {
                                ++num_seen[rows[i]];
                                REQUIRE(batch.token_ids[i] == schedule.token_ids[rows[i]]);
                            }
                            for (const SequencePiece& piece : batch.pieces) {
                                REQUIRE(piece.first_position == next_position[piece.sequence]);
                                next_position[piece.sequence] += piece.num_tokens;
                            }
                        }
                        for (const std::vector<Batch>& batches : devices)
                            REQUIRE(batches[b].most_rows == most_rows);
                    }
                    REQUIRE(std::all_of(num_seen.begin(), num_seen.end(),
                                        [](int n) { return n == 1; }));
                }
}

TEST_CASE("a device's batches count its ranks' tokens, iteration by iteration") {
    constexpr int kEpSize = 4;
    for (const Segment segment : {Segment::prompt, Segment::output, Segment::all})
        for (const int num_devices : {1, 2, 4})
            for (const LoopOrder order : {LoopOrder::by_layer, LoopOrder::by_iteration}) {
                const TokenSchedule schedule = make_schedule(
                    test::requests_for(11, 1000),
                    {.ep_size = kEpSize, .tokens_per_rank = 5, .segment = segment, .start = 1});
                const int num_ranks = kEpSize / num_devices;
                for (int device = 0; device < num_devices; ++device) {
                    std::size_t next = 0;
                    for (const Batch& batch : batches_of(schedule, device, num_ranks, order)) {
                        const std::vector<std::int32_t> rows = schedule_rows(schedule, batch);
                        for (const Batch::Iteration& iteration : batch.iterations) {
                            REQUIRE(iteration.id == 1 + static_cast<std::int64_t>(next));
                            const TokenSchedule::Iteration& all = schedule.iterations[next++];
                            REQUIRE(static_cast<int>(iteration.rank_begin.size()) == num_ranks + 1);
                            for (int rank = 0; rank < num_ranks; ++rank) {
                                std::vector<std::int32_t> own;
                                for (int i = iteration.rank_begin[rank];
                                     i < iteration.rank_begin[rank + 1]; ++i)
                                    own.push_back(rows[iteration.rows[i]]);
                                const auto begin =
                                    all.rows.begin() + all.rank_begin[device * num_ranks + rank];
                                const auto end = all.rows.begin() +
                                                 all.rank_begin[device * num_ranks + rank + 1];
                                REQUIRE(own == std::vector<std::int32_t>(begin, end));
                            }
                            REQUIRE(iteration.rank_begin.front() == 0);
                            REQUIRE(iteration.rank_begin.back() ==
                                    static_cast<std::int32_t>(iteration.rows.size()));
                        }
                    }
                    REQUIRE(next == schedule.iterations.size());
                }
            }
}

TEST_CASE("ranks without a token have batches without a row") {
    const TokenSchedule schedule =
        make_schedule({{{1, 2, 3}, {}}, {}, {{4}, {}}}, {.ep_size = 4, .tokens_per_rank = 2});
    REQUIRE(schedule.iterations.size() == 2);
    const std::vector<Batch> batches = batches_of(schedule, 3, 1, LoopOrder::by_iteration);
    REQUIRE(batches.size() == 2);
    CHECK(batches[0].num_rows() == 0);
    CHECK(batches[0].pieces.empty());
    CHECK(batches[0].most_rows == 2);
    CHECK(batches[0].iterations.front().rank_begin == std::vector<std::int32_t>{0, 0});
    CHECK(batches[1].most_rows == 1);
}

}  // namespace eplb::test_batch
