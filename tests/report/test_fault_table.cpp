#include <cstdint>
#include <string>
#include <vector>

#include "lib/report/views/fault_table.h"
#include "tests/report/subjects.h"
#include "tests/test_support.h"

namespace eplb::test_fault_table {

using eplb::test::error_of;
using eplb::test::last_verdict;

namespace {

// Layers 3 and 5, four experts; counts over two iterations are 10, 20, 30, 40 and 40, 30, 20, 10.
ExpertStatistics statistics_of(IdKind ids) {
    ExpertStatistics statistics;
    statistics.num_experts = 4;
    statistics.top_k = 2;
    statistics.ep_size = 2;
    statistics.num_sources = 1;
    statistics.layers = {3, 5};
    statistics.num_iterations = 2;
    statistics.ids = ids;
    statistics.counts = {4, 8, 12, 16, 16, 12, 8, 4, 6, 12, 18, 24, 24, 18, 12, 6};
    return statistics;
}

Subject projected(const Placement& first, const Placement& second) {
    return projected_subject(statistics_of(IdKind::expert), "stats under eplb.yaml",
                             {first, second});
}

Cell integer(std::int64_t value) {
    return value;
}

}  // namespace

TEST_CASE("the fault table without replicas") {
    const Table table = fault_table(recorded_subject(statistics_of(IdKind::expert), "stats", 2));
    REQUIRE(table.columns.size() == 5);
    CHECK(table.columns[0].key == "rank");
    REQUIRE(table.rows.size() == 2);
    // rank 0: 30 of layer 3 and 70 of layer 5, of 200 in all
    CHECK(table.rows[0] ==
          std::vector<Cell>{integer(0), integer(4), 0.5, integer(5), IntegerList{0, 1}});
    CHECK(table.rows[1] ==
          std::vector<Cell>{integer(1), integer(4), 0.5, integer(3), IntegerList{2, 3}});
    CHECK(table.average ==
          std::vector<Cell>{std::string("average"), 4.0, 0.5, Cell(), IntegerList{}});
    CHECK(last_verdict(table) ==
          "If rank 0 dies, 4 experts go with it in 2 layers, which serve 50.0 % of the "
          "routed ids (a token has several, so that far more tokens miss one); with "
          "every expert on two ranks none would, which takes 8 slots or more.");
}

TEST_CASE("the fault table names what has no replica elsewhere") {
    // layer 3: expert 1 twice on rank 0, the others on both; layer 5: all on both
    const Table table = fault_table(
        projected({2, 5, {0, 1, 1, 2, 3, 0, 2, 3, 0, 2}}, {2, 5, {0, 1, 2, 3, 0, 0, 1, 2, 3, 0}}));
    CHECK(table.rows[0] ==
          std::vector<Cell>{integer(0), integer(1), 0.1, integer(3), IntegerList{1}});
    CHECK(table.rows[1] == std::vector<Cell>{integer(1), integer(0), 0.0, Cell(), IntegerList{}});
    CHECK_STARTS_WITH(last_verdict(table),
                      "If rank 0 dies, 1 expert goes with it in 2 layers, which serve 10.0 %");
}

TEST_CASE("a placement that survives any rank is said to") {
    const Placement twice{2, 4, {0, 1, 2, 3, 0, 1, 2, 3}};
    const Table table = fault_table(projected(twice, twice));
    for (const auto& row : table.rows)
        CHECK(row[1] == integer(0));
    CHECK(last_verdict(table) == "Any rank may die: every expert has a replica on another rank.");
}

TEST_CASE("with nodes the rows are nodes") {
    // both replicas of each expert on one node: any rank may die, no node may
    const Placement placement{4, 2, {0, 1, 1, 0, 2, 3, 3, 2}};
    CHECK_STARTS_WITH(last_verdict(fault_table(projected(placement, placement))),
                      "Any rank may die");
    const Table table = fault_table(projected(placement, placement), 2);
    CHECK(table.columns[0].key == "node");
    REQUIRE(table.rows.size() == 2);
    CHECK(table.rows[1] ==
          std::vector<Cell>{integer(1), integer(4), 0.5, integer(3), IntegerList{2, 3}});
    CHECK_STARTS_WITH(last_verdict(table),
                      "If node 0 dies, 4 experts go with it in 2 layers, which serve 50.0 %");
    CHECK_STARTS_WITH(error_of([&] { fault_table(projected(placement, placement), 3); }),
                      "faults: 3 nodes for 4 ranks");
}

TEST_CASE("experts nobody asked for are lost all the same") {
    ExpertStatistics statistics = statistics_of(IdKind::expert);
    for (int iteration = 0; iteration < 2; ++iteration)
        statistics.row(iteration, 0, 0)[1] = statistics.row(iteration, 1, 0)[1] = 0;
    const Placement placement{2, 4, {0, 1, 2, 3, 0, 2, 3, 0}};
    const Table table = fault_table(projected_subject(statistics, "stats", {placement, placement}));
    CHECK(table.rows[0] ==
          std::vector<Cell>{integer(0), integer(2), 0.0, integer(3), IntegerList{1}});
    CHECK_STARTS_WITH(last_verdict(table),
                      "If rank 0 dies, 2 experts go with it in 2 layers, which serve 0.0 %");
}

TEST_CASE("a lone rank takes everything with it") {
    const Table table = fault_table(recorded_subject(statistics_of(IdKind::expert), "stats", 1));
    CHECK(last_verdict(table) ==
          "If rank 0 dies, 8 experts go with it in 2 layers, which serve 100.0 % of the "
          "routed ids (a token has several, so that far more tokens miss one); there is no other "
          "rank.");
}

TEST_CASE("slots of unknown experts have no fault table") {
    const std::string text =
        error_of([] { fault_table(recorded_subject(statistics_of(IdKind::slot), "stats", 2)); });
    CHECK_STARTS_WITH(text, "stats: holds slot ids");
    CHECK(text.find("load_balancer") != std::string::npos);
}

}  // namespace eplb::test_fault_table
