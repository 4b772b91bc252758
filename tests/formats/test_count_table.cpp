#include <climits>
#include <numeric>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_table.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_count_table {

using eplb::test::error_of;

namespace {

// 2 iterations, 2 experts; the rows named hold tokens, row r has r + 1 for its first expert
CountTable table_of(LayerRows layer_rows, int num_rows, const std::vector<int>& rows_with_tokens) {
    CountTable table;
    table.layer_rows = layer_rows;
    table.num_experts = 2;
    table.num_iterations = 2;
    table.allocate(num_rows, "x.json");
    for (const int row : rows_with_tokens)
        table.row(1, row, 0)[0] = row + 1;
    return table;
}

CountTable deepseek(LayerRows layer_rows) {
    return table_of(layer_rows, 6, {3, 4, 5});
}

CountTable full(LayerRows layer_rows, int num_rows) {
    std::vector<int> rows(num_rows);
    std::iota(rows.begin(), rows.end(), 0);
    return table_of(layer_rows, num_rows, rows);
}

// which rows of table_of() became layers
std::vector<int> rows_of(const ExpertStatistics& statistics) {
    std::vector<int> rows;
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        rows.push_back(static_cast<int>(total_counts(statistics, layer)[0]) - 1);
    return rows;
}

void check_layers(const CountTable& table,
                  const LayerOptions& options,
                  const std::vector<int>& layers,
                  const std::vector<int>& rows) {
    const ExpertStatistics statistics = number_layers(table, options, "x.json");
    CHECK(statistics.layers == layers);
    CHECK(rows_of(statistics) == rows);
}

std::string error_for(const CountTable& table, const LayerOptions& options = {}) {
    return error_of([&] { number_layers(table, options, "x.json"); });
}

}  // namespace

TEST_CASE("counts are in the order of iterations, rows, sources, experts") {
    CountTable table;
    table.num_iterations = 2;
    table.num_sources = 4;
    table.num_experts = 5;
    table.allocate(3, "x.json");
    CHECK(table.counts == std::vector<std::int64_t>(2 * 3 * 4 * 5));
    std::iota(table.counts.begin(), table.counts.end(), 0);
    std::int64_t expected = 0;
    for (int iteration = 0; iteration < 2; ++iteration)
        for (int row = 0; row < 3; ++row)
            for (int source = 0; source < 4; ++source) {
                REQUIRE(table.row(iteration, row, source).size() == 5);
                for (const std::int64_t count : table.row(iteration, row, source))
                    CHECK(count == expected++);
            }
}

TEST_CASE("more counts than any recording has are refused before memory is asked for") {
    CountTable table;
    table.num_iterations = table.num_sources = table.num_experts = INT_MAX;
    CHECK_STARTS_WITH(error_of([&] { table.allocate(INT_MAX, "x.json"); }),
                      "x.json: 2147483647 iterations of 2147483647 layers, 2147483647 ranks and "
                      "2147483647 experts are more");
    table.num_iterations = 1 << 16;
    table.num_sources = table.num_experts = 1;
    CHECK_STARTS_WITH(error_of([&] { table.allocate((1 << 16) + 1, "x.json"); }),
                      "x.json: 65536 iterations");
}

TEST_CASE("statistics take everything from the table") {
    CountTable table;
    table.layer_rows = LayerRows::by_id;
    table.layers = {4, 9};
    table.num_experts = 3;
    table.top_k = 2;
    table.ids = IdKind::slot;
    table.ep_size = 2;
    table.num_sources = 2;
    table.has_unknown_sources = false;
    table.iter_start = 7;
    table.num_iterations = 2;
    table.allocate(2, "x.json");
    std::iota(table.counts.begin(), table.counts.end(), 0);
    ExpertStatistics expected;
    expected.num_experts = 3;
    expected.top_k = 2;
    expected.ep_size = 2;
    expected.layers = {4, 9};
    expected.iter_start = 7;
    expected.num_iterations = 2;
    expected.num_sources = 2;
    expected.ids = IdKind::slot;
    expected.counts = table.counts;
    CHECK(number_layers(table, {}, "x.json") == expected);
    table.ids = IdKind::expert;
    table.has_unknown_sources = true;
    CHECK(number_layers(table, {}, "x.json").ids == IdKind::expert);
    CHECK(number_layers(table, {}, "x.json").has_unknown_sources);
}

TEST_CASE("a format that names its layers needs no options") {
    CountTable table = full(LayerRows::by_id, 2);
    table.layers = {4, 9};
    check_layers(table, {}, {4, 9}, {0, 1});
    CHECK(error_for(table, {3, {}}) ==
          "x.json: names its layers itself; leave out first_moe_layer");
    CHECK(error_for(table, {{}, {4, 9}}) ==
          "x.json: names its layers itself; leave out moe_layers");
}

TEST_CASE("rows of decoder layers are layers") {
    const LayerRows rows = LayerRows::decoder_layers;
    check_layers(full(rows, 3), {}, {0, 1, 2}, {0, 1, 2});
    check_layers(full(rows, 3), {0, {}}, {0, 1, 2}, {0, 1, 2});
    check_layers(deepseek(rows), {3, {}}, {3, 4, 5}, {3, 4, 5});
    check_layers(deepseek(rows), {{}, {3, 4, 5}}, {3, 4, 5}, {3, 4, 5});
}

TEST_CASE("a MoE layer that nothing was routed to is kept where the options name it") {
    check_layers(deepseek(LayerRows::decoder_layers), {2, {}}, {2, 3, 4, 5}, {-1, 3, 4, 5});
    check_layers(deepseek(LayerRows::decoder_layers), {{}, {1, 3, 4, 5}}, {1, 3, 4, 5},
                 {-1, 3, 4, 5});
}

TEST_CASE("a decoder layer without tokens is never guessed to be dense") {
    const LayerRows rows = LayerRows::decoder_layers;
    CHECK(error_for(deepseek(rows)) ==
          "x.json: rows 0 to 2 hold no tokens: dense layers, or MoE layers that nothing was routed "
          "to? give first_moe_layer 3 (or moe_layers with the layers that have experts)");
    CHECK_STARTS_WITH(error_for(table_of(rows, 3, {1, 2})),
                      "x.json: row 0 holds no tokens: dense layers, or MoE layers that nothing was "
                      "routed to? give first_moe_layer 1 (or");
    CHECK(error_for(table_of(rows, 8, {1, 2, 3, 5, 7})) ==
          "x.json: rows 0,4,6 hold no tokens: dense layers, or MoE layers that nothing was routed "
          "to? give moe_layers 1-3,5,7 (or another list of the layers that have experts)");
    CHECK_STARTS_WITH(error_for(table_of(rows, 3, {})), "x.json: holds no tokens: nothing");
}

TEST_CASE("options that do not fit decoder layers are refused") {
    const LayerRows rows = LayerRows::decoder_layers;
    CHECK_STARTS_WITH(error_for(deepseek(rows), {4, {}}),
                      "x.json: row 3 holds tokens, while first_moe_layer says that layer 3 has no "
                      "experts");
    CHECK_STARTS_WITH(error_for(deepseek(rows), {{}, {3, 5}}),
                      "x.json: row 4 holds tokens, while moe_layers says that layer 4 has no");
    CHECK_STARTS_WITH(error_for(deepseek(rows), {6, {}}),
                      "x.json: first_moe_layer 6 is not among its 6 rows, the layers 0 to 5");
    CHECK_STARTS_WITH(error_for(deepseek(rows), {INT_MAX, {}}),
                      "x.json: first_moe_layer 2147483647 is not among its 6 rows");
    CHECK_STARTS_WITH(error_for(deepseek(rows), {{}, {3, 4, 5, 6}}),
                      "x.json: layer 6 of moe_layers is not among its 6 rows, the layers 0 to 5");
}

TEST_CASE("counts of tables whose rows are all kept are not copied") {
    CountTable table = full(LayerRows::moe_layers, 3);
    const std::vector<std::int64_t> counts = table.counts;
    const std::int64_t* const place = table.counts.data();
    const ExpertStatistics statistics = number_layers(std::move(table), {3, {}}, "x.json");
    CHECK(statistics.counts.data() == place);
    CHECK(statistics.counts == counts);
}

TEST_CASE("rows of MoE layers need their ids") {
    const CountTable table = full(LayerRows::moe_layers, 58);
    const ExpertStatistics statistics = number_layers(table, {3, {}}, "x.json");
    CHECK(statistics.num_layers() == 58);
    CHECK(statistics.layers.front() == 3);
    CHECK(statistics.layers.back() == 60);
    CHECK(error_for(table) ==
          "x.json: its 58 rows are the MoE layers in order, without their ids; give "
          "first_moe_layer N (3 for DeepSeek-R1) or moe_layers LIST");
    check_layers(table_of(LayerRows::moe_layers, 3, {0, 2}), {{}, {1, 3, 5}}, {1, 3, 5},
                 {0, -1, 2});
    for (const std::vector<int>& list : {std::vector{1, 3}, {1, 3, 5, 7}})
        CHECK(error_for(full(LayerRows::moe_layers, 3), {{}, list}) ==
              "x.json: has 3 rows, while moe_layers names " + std::to_string(list.size()) +
                  " layers; name one for each row");
    check_layers(full(LayerRows::moe_layers, 1), {INT_MAX - 1, {}}, {INT_MAX - 1}, {0});
    CHECK_STARTS_WITH(error_for(full(LayerRows::moe_layers, 3), {INT_MAX, {}}),
                      "x.json: first_moe_layer 2147483647 is absurd");
}

TEST_CASE("a list tells what unstated rows are") {
    const LayerRows rows = LayerRows::unstated;
    check_layers(full(rows, 3), {{}, {3, 4, 5}}, {3, 4, 5}, {0, 1, 2});
    check_layers(full(rows, 3), {{}, {0, 1, 2}}, {0, 1, 2}, {0, 1, 2});
    check_layers(deepseek(rows), {{}, {3, 4, 5}}, {3, 4, 5}, {3, 4, 5});
    CHECK_STARTS_WITH(error_for(deepseek(rows), {{}, {3, 4}}), "x.json: row 5 holds tokens");
    CHECK_STARTS_WITH(error_for(deepseek(rows), {{}, {3, 4, 7}}),
                      "x.json: layer 7 of moe_layers is not among its 6 rows");
    CHECK_STARTS_WITH(error_for(full(rows, 3), {{}, {3, 4, 5, 6}}),
                      "x.json: has 3 rows, while moe_layers names 4 layers");
}

TEST_CASE("without a list unstated rows have two readings") {
    const LayerRows rows = LayerRows::unstated;
    CHECK(error_for(deepseek(rows)) ==
          "x.json: does not say which layers its 6 rows are: either row i is layer i (rows 0 to 2 "
          "hold no tokens), then give moe_layers 3-5 or whichever have experts; or the rows are "
          "the MoE layers alone, then give moe_layers with 6 ids, like 3-8");
    CHECK(error_for(full(rows, 3)) ==
          "x.json: does not say which layers its 3 rows are: either row i is layer i, then give "
          "first_moe_layer 0 where all have experts; or the rows are the MoE layers alone, then "
          "give moe_layers with 3 ids, like 3-5");
    CHECK_STARTS_WITH(error_for(table_of(rows, 2, {1})),
                      "x.json: does not say which layers its 2 rows are: either row i is layer i "
                      "(row 0 holds no tokens), then give moe_layers 1 or");
    CHECK(error_for(full(rows, 3), {2, {}}) ==
          "x.json: first_moe_layer does not say which layers its 3 rows are: either row i is "
          "layer i, then give moe_layers 2; or the rows are the MoE layers alone, then give "
          "moe_layers 2-4");
    // from layer 0 on both readings are the same
    check_layers(full(rows, 3), {0, {}}, {0, 1, 2}, {0, 1, 2});
    CHECK_STARTS_WITH(error_for(full(rows, 3), {INT_MAX, {}}), "x.json: first_moe_layer");
}

TEST_CASE("options that mean nothing are refused") {
    for (const LayerRows rows :
         {LayerRows::decoder_layers, LayerRows::moe_layers, LayerRows::unstated}) {
        const CountTable table = full(rows, 3);
        CHECK_STARTS_WITH(error_for(table, {3, {3, 4, 5}}), "x.json: first_moe_layer and");
        CHECK_STARTS_WITH(error_for(table, {-1, {}}), "x.json: first_moe_layer -1 is no layer");
        for (const std::vector<int>& list : {std::vector{1, 1, 2}, {2, 1, 3}, {-1, 0, 1}})
            CHECK(error_for(table, {{}, list}) == "x.json: moe_layers must be ascending layer ids");
    }
}

}  // namespace eplb::test_count_table
