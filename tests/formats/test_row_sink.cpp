#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "lib/base/file.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/test_support.h"

namespace eplb::test_row_sink {

using eplb::test::error_of;
using eplb::test::TemporaryFolder;

namespace {

const std::filesystem::path kFixture = test::test_data() / "formats" / "trtllm";

// All that a reader shows.
class SeenRows : public RowSink {
  public:
    void begin(const ExpertStatistics& recording) override {
        CHECK(rows.empty());
        shape = recording;
        ++num_begins;
    }

    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override {
        const std::lock_guard lock(mutex_);
        ++num_rows;
        rows[{iteration, layer, source}] = {counts.begin(), counts.end()};
    }

    ExpertStatistics shape;
    int num_begins = 0;
    int num_rows = 0;
    std::map<std::tuple<std::int64_t, int, int>, std::vector<std::int64_t>> rows;

  private:
    std::mutex mutex_;
};

// seen: exactly the rows of `expected`, which holds all source ranks.
void check_seen(const SeenRows& seen, const ExpertStatistics& expected) {
    CHECK(seen.num_begins == 1);
    CHECK(seen.shape.counts.empty());
    CHECK(seen.shape.layers == expected.layers);
    CHECK(seen.shape.num_experts == expected.num_experts);
    CHECK(seen.shape.ep_size == expected.ep_size);
    CHECK(seen.num_rows == expected.num_iterations * expected.num_layers() * expected.ep_size);
    CHECK(seen.rows.size() == static_cast<std::size_t>(seen.num_rows));
    for (const auto& [key, counts] : seen.rows) {
        const auto [iteration, layer, source] = key;
        const auto row =
            expected.row(static_cast<int>(iteration - expected.iter_start), layer, source);
        CHECK(counts == std::vector<std::int64_t>(row.begin(), row.end()));
    }
}

void write_stream(const std::filesystem::path& path, const ExpertStatistics& statistics) {
    OutputFile output(path.string());
    StatisticsStreamWriter writer(statistics, output);
    for (int i = 0; i < statistics.num_iterations; ++i)
        writer.write_iteration(statistics, i);
    writer.write_end(statistics.num_iterations);
    output.commit();
}

}  // namespace

TEST_CASE("each source rank's row of a folder is seen once, summed or not") {
    for (const int num_threads : {1, 3})
        for (const bool sum_sources : {false, true})
            for (const StatisticsSelection& part :
                 {StatisticsSelection{}, {99, 101, false}, {{}, 99, false}}) {
                ThreadPool threads(num_threads);
                const ExpertStatistics expected = read_trtllm_statistics(kFixture, part, threads);
                SeenRows seen;
                StatisticsSelection selection = part;
                selection.sum_sources = sum_sources;
                const ExpertStatistics read =
                    read_statistics(kFixture.string(), selection, threads, &seen);
                check_seen(seen, expected);
                CHECK(seen.shape.num_iterations == expected.num_iterations);
                CHECK(seen.shape.iter_start == expected.iter_start);
                CHECK(read == read_statistics(kFixture.string(), selection, threads));
            }
}

TEST_CASE("each source rank's row of a stream is seen once, those of other iterations never") {
    const TemporaryFolder folder;
    ThreadPool threads(1);
    write_stream(folder / "s.jsonl", read_trtllm_statistics(kFixture, {}, threads));
    for (const StatisticsSelection& part :
         {StatisticsSelection{}, {99, 101, false}, {{}, 99, true}}) {
        const ExpertStatistics expected =
            read_trtllm_statistics(kFixture, {part.iter_start, part.iter_stop, false}, threads);
        SeenRows seen;
        read_statistics((folder / "s.jsonl").string(), part, threads, &seen);
        check_seen(seen, expected);
        CHECK(seen.shape.num_iterations == 0);  // not known yet
    }
}

TEST_CASE("routed ids are visited cell by cell, against counts summed or not") {
    for (const int num_threads : {1, 3})
        for (const bool sum_sources : {false, true}) {
            ThreadPool threads(num_threads);
            const ExpertStatistics statistics =
                read_trtllm_statistics(kFixture, {99, 102, sum_sources}, threads);
            const auto routed = read_trtllm_routed_ids(
                kFixture, read_trtllm_statistics(kFixture, {99, 102, false}, threads));
            REQUIRE(routed);
            REQUIRE(has_trtllm_routed_ids(kFixture));
            RoutedIds visited = *routed;
            for (auto& ids : visited.ids)
                ids.assign(1, -7);
            visit_trtllm_routed_ids(
                kFixture, statistics, threads,
                [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
                    visited.cell(static_cast<int>(iteration - 99), layer, source) = ids;
                });
            CHECK(visited == *routed);
        }
}

TEST_CASE("visited ids that are not those counted are refused, where the counts are summed too") {
    ThreadPool threads(2);
    ExpertStatistics statistics = read_trtllm_statistics(kFixture, {{}, {}, true}, threads);
    ++statistics.row(2, 1, 0)[5];
    const std::string error = error_of([&] {
        visit_trtllm_routed_ids(kFixture, statistics, threads, [](auto, auto, auto, auto) {});
    });
    CHECK_STARTS_WITH(error, kFixture.string() + ": key \"100_10\": id 5 stands there ");
    CHECK(error.ends_with("remove the token_selected_experts files"));
}

}  // namespace eplb::test_row_sink
