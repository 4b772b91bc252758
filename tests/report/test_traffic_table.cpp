#include <cmath>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/report/views/traffic_table.h"
#include "tests/test_support.h"

namespace eplb::test_traffic_table {

namespace {

using Ids = std::vector<std::int32_t>;

// Two iterations, of which the second has no tokens, layers 3 and 5, two source ranks.
RoutedIds small_recording() {
    RoutedIds routed;
    routed.top_k = routed.ep_size = routed.num_iterations = 2;
    routed.layers = {3, 5};
    routed.ids = {{0, 1, 0, 2, 3, 2}, {1, 3}, {2, 0, 1, 2, 3, 0}, {0, 1}, {}, {}, {}, {}};
    return routed;
}

ExpertStatistics counts_of(const RoutedIds& routed, int num_experts, IdKind ids) {
    ExpertStatistics statistics;
    statistics.num_experts = num_experts;
    statistics.top_k = routed.top_k;
    statistics.ep_size = statistics.num_sources = routed.ep_size;
    statistics.layers = routed.layers;
    statistics.iter_start = routed.iter_start;
    statistics.num_iterations = routed.num_iterations;
    statistics.ids = ids;
    statistics.allocate();
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            for (int source = 0; source < routed.ep_size; ++source)
                for (const std::int32_t id : routed.cell(iteration, layer, source))
                    ++statistics.row(iteration, layer, source)[id];
    return statistics;
}

Subject recorded(const RoutedIds& routed, int ep_size, IdKind ids = IdKind::expert) {
    return recorded_subject(counts_of(routed, 4, ids), "stats", ep_size);
}

Subject projected(const RoutedIds& routed, const Placement& placement) {
    return projected_subject(counts_of(routed, 4, IdKind::expert), "stats under eplb.yaml",
                             std::vector(routed.layers.size(), placement));
}

std::vector<ReplayedTraffic> traffic(const Subject& subject,
                                     const RoutedIds& routed,
                                     int num_nodes = 1) {
    std::deque<TrafficReplay> replays = traffic_replays(subject, routed.ep_size, num_nodes);
    std::vector<ReplayedTraffic> layers;
    for (TrafficReplay& replay : replays) {
        const auto layer = static_cast<int>(layers.size());
        for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
            for (int source = 0; source < routed.ep_size; ++source)
                replay.add(iteration, source, routed.cell(iteration, layer, source));
        layers.push_back(replay.traffic());
    }
    return layers;
}

std::vector<std::string> keys_of(const Table& table) {
    std::vector<std::string> keys;
    for (const TableColumn& column : table.columns)
        keys.push_back(column.key);
    return keys;
}

double number(const Cell& cell) {
    return std::get<double>(cell);
}

bool says(const Table& table, const std::string& text) {
    for (const Note& note : table.notes)
        if (note.text.find(text) != std::string::npos)
            return true;
    return false;
}

Approx near(double value) {
    return Approx(value).epsilon(1e-12).margin(0);
}

}  // namespace

TEST_CASE("the traffic table of four experts on two ranks, by hand") {
    const RoutedIds routed = small_recording();
    const Subject subject = recorded(routed, 2);
    // 0 and 1 on rank 0, 2 and 3 on rank 1
    const Table table = traffic_table(subject, traffic(subject, routed, 2),
                                      {.num_nodes = 2, .bytes_per_token = 1e6});
    REQUIRE(keys_of(table) == std::vector<std::string>{"layer", "ranks_per_token",
                                                       "remote_ranks_per_token", "nodes_per_token",
                                                       "saved", "within_rank_share",
                                                       "mb_sent_per_rank"});
    REQUIRE(table.rows.size() == 2);
    // layer 3: tokens of rank 0 go to {0}, {0, 1}, {1}, that of rank 1 to {0, 1}
    CHECK(table.rows[0][0] == Cell(std::int64_t{3}));
    CHECK(number(table.rows[0][1]) == near(6.0 / 4));
    CHECK(number(table.rows[0][2]) == near(3.0 / 4));
    CHECK(number(table.rows[0][3]) == near(6.0 / 4));
    CHECK(number(table.rows[0][4]) == near(2.0 / 8));
    CHECK(number(table.rows[0][5]) == near(2.0 / 4));
    CHECK(number(table.rows[0][6]) == near(3.0 / 2));  // one iteration has tokens, two ranks send
    // layer 5: three times both, then {0} from rank 1
    CHECK(number(table.rows[1][1]) == near(7.0 / 4));
    CHECK(number(table.rows[1][2]) == near(4.0 / 4));
    CHECK(number(table.rows[1][6]) == near(4.0 / 2));
    CHECK(number(table.average[1]) == near(13.0 / 8));
    CHECK(says(table, "experts in order"));
    CHECK(says(table, "3.500 MB per iteration in all layers"));
    CHECK_FALSE(says(table, "round robin"));
}

TEST_CASE("without nodes and bytes their columns are not there") {
    const RoutedIds routed = small_recording();
    const Subject subject = recorded(routed, 2);
    CHECK(keys_of(traffic_table(subject, traffic(subject, routed), {})) ==
          std::vector<std::string>{"layer", "ranks_per_token", "remote_ranks_per_token", "saved",
                                   "within_rank_share"});
}

TEST_CASE("under a placement of other ranks nothing is said of a token's own rank") {
    const RoutedIds routed = small_recording();
    const Subject subject = recorded(routed, 4);
    const Table table = traffic_table(subject, traffic(subject, routed), {.bytes_per_token = 1e6});
    REQUIRE(keys_of(table) == std::vector<std::string>{"layer", "ranks_per_token", "saved",
                                                       "within_rank_share", "mb_sent_per_rank"});
    CHECK(number(table.rows[0][1]) == 2);
    CHECK(number(table.rows[0][4]) == near(8.0 / 2));
    CHECK(says(table, "The recording has 2 ranks, the placement 4"));
}

TEST_CASE("replicas are replayed under a config") {
    const RoutedIds routed = small_recording();
    // 0 on both ranks; 1 on rank 0, 2 and 3 on rank 1
    const Subject subject = projected(routed, {2, 3, {0, 1, 1, 2, 3, 0}});
    const Table table = traffic_table(subject, traffic(subject, routed), {});
    // rank 0: token {0, 1}: 0 to slot 0; {0, 2}: 0 to slot 5; {3, 2}. rank 1: {1, 3}
    CHECK(number(table.rows[0][1]) == near((1.0 + 1 + 1 + 2) / 4));
    CHECK(says(table, "replicas by the engine's round robin"));
    CHECK(says(table, "A rank holds an expert twice: upstream"));
    const Subject single = projected(routed, {2, 3, {0, 1, 2, 2, 3, 0}});
    CHECK_FALSE(says(traffic_table(single, traffic(single, routed), {}), "upstream"));
}

TEST_CASE("recorded slots are where the tokens went") {
    const RoutedIds routed = small_recording();
    const Subject slots = recorded(routed, 2, IdKind::slot);
    REQUIRE_FALSE(slots.knows_experts());
    const Subject experts = recorded(routed, 2);
    const auto of_slots = traffic(slots, routed);
    const auto of_experts = traffic(experts, routed);
    CHECK(of_slots[0].sends == of_experts[0].sends);
    CHECK(of_slots[1].sends == of_experts[1].sends);
    CHECK_FALSE(says(traffic_table(slots, of_slots, {}), "experts in order"));
}

TEST_CASE("a layer without tokens has NaN and does not count in the average") {
    RoutedIds routed = small_recording();
    for (int source = 0; source < 2; ++source)
        routed.cell(0, 0, source).clear();
    const Subject subject = recorded(routed, 2);
    const Table table = traffic_table(subject, traffic(subject, routed), {.bytes_per_token = 1e6});
    for (std::size_t i = 1; i < table.columns.size(); ++i) {
        CHECK(std::isnan(number(table.rows[0][i])));
        CHECK(number(table.average[i]) == number(table.rows[1][i]));
    }
    CHECK(says(table, "2.000 MB per iteration in all layers"));
}

TEST_CASE("from rank to rank, by hand") {
    const RoutedIds routed = small_recording();
    const Subject subject = recorded(routed, 2);
    const Table table = rank_traffic_table(subject, traffic(subject, routed), {});
    REQUIRE(keys_of(table) == std::vector<std::string>{"source_rank", "rank_0", "rank_1", "total"});
    // both layers; only one of the two iterations has tokens
    CHECK(table.rows[0] == std::vector<Cell>{std::int64_t{0}, 2.0 + 3, 2.0 + 3, 10.0});
    CHECK(table.rows[1] == std::vector<Cell>{std::int64_t{1}, 1.0 + 1, 1.0 + 0, 3.0});
    CHECK(table.average == std::vector<Cell>{std::string("average"), 3.5, 3.0, 6.5});
    CHECK(says(table, "Rank 0 receives most, 1.08 times the mean."));              // 7 / 6.5
    CHECK(says(table, "Cells of a rank with itself stay on it: 46.2 % of all."));  // 6 / 13
    const Table in_mb =
        rank_traffic_table(subject, traffic(subject, routed), {.bytes_per_token = 2e6});
    CHECK(in_mb.rows[0] == std::vector<Cell>{std::int64_t{0}, 10.0, 10.0, 20.0});
    CHECK(in_mb.title == "MB from rank to rank:");
}

TEST_CASE("what ranks send adds up to tokens times ranks per token") {
    const RoutedIds routed = small_recording();
    for (const Placement& placement :
         {Placement{1, 4, {0, 1, 2, 3}}, Placement{2, 3, {0, 1, 1, 2, 3, 0}},
          Placement{4, 2, {0, 1, 1, 2, 3, 0, 2, 2}}}) {
        const Subject subject = projected(routed, placement);
        const auto layers = traffic(subject, routed);
        const Table matrix = rank_traffic_table(subject, layers, {});
        double sent = 0;
        for (const auto& row : matrix.rows)
            sent += number(row.back());
        double expected = 0;
        for (const auto& row : traffic_table(subject, layers, {}).rows)
            expected += 4 * number(row[1]);  // tokens of a layer in the one iteration
        CHECK(sent == near(expected));
    }
}

TEST_CASE("recordings without tokens make tables of zeros and NaN") {
    RoutedIds routed = small_recording();
    for (Ids& ids : routed.ids)
        ids.clear();
    const Subject subject = recorded(routed, 2);
    const Table matrix = rank_traffic_table(subject, traffic(subject, routed), {});
    CHECK(matrix.rows[0] == std::vector<Cell>{std::int64_t{0}, 0.0, 0.0, 0.0});
    CHECK(std::isnan(number(traffic_table(subject, traffic(subject, routed), {}).average[1])));
}

TEST_CASE("traffic of real routes is what numpy counts") {
    const std::filesystem::path data = eplb::test::real_data();
    if (data.empty()) {
        WARN("skipped: the real statistics are not there");
        return;
    }
    ThreadPool threads(2);
    const auto folder = data / "deepseek-v2-lite" / "intent";
    const ExpertStatistics statistics = read_trtllm_statistics(folder, {}, threads);
    const std::optional<RoutedIds> routed = read_trtllm_routed_ids(folder, statistics);
    REQUIRE(routed);
    const Subject subject = recorded_subject(statistics, "intent", 8);
    const Table table = traffic_table(subject, traffic(subject, *routed, 2), {.num_nodes = 2});
    // np.unique(ids // 8) of each token of layers 1 and 2, experts in order on 8 ranks of 2 nodes
    const double expected[2][5] = {{4.5155029296875, 3.9552001953125, 1.980712890625,
                                    1 - 4.5155029296875 / 6, 0.11166178385416667},
                                   {4.4932861328125, 3.938720703125, 1.95703125,
                                    1 - 4.4932861328125 / 6, 0.12006022135416666}};
    for (std::size_t row = 0; row < 2; ++row)
        for (std::size_t i = 0; i < 5; ++i)
            CHECK(number(table.rows[row][i + 1]) == near(expected[row][i]));
}

}  // namespace eplb::test_traffic_table
