#include <optional>
#include <string>
#include <vector>

#include "lib/report/text/table_edit.h"
#include "tests/test_support.h"

namespace eplb::test_table_edit {

using eplb::Cell;
using eplb::find_column;
using eplb::IntegerList;
using eplb::keep_top;
using eplb::Note;
using eplb::sort_rows;
using eplb::Table;

namespace {

Cell integer(std::int64_t value) {
    return value;
}

// Rows labelled 0, 1, 2, … with these cells in the column "x".
Table table_of(const std::vector<Cell>& cells) {
    Table table;
    table.columns = {{"layer", "layer"}, {"x", "x"}};
    for (std::size_t i = 0; i < cells.size(); ++i)
        table.rows.push_back({integer(static_cast<std::int64_t>(i)), cells[i]});
    return table;
}

// The labels of the rows in their order.
std::vector<std::int64_t> labels(const Table& table) {
    std::vector<std::int64_t> labels;
    for (const std::vector<Cell>& row : table.rows)
        labels.push_back(std::get<std::int64_t>(row[0]));
    return labels;
}

std::vector<std::int64_t> sorted(const std::vector<Cell>& cells, const std::string& key) {
    Table table = table_of(cells);
    const bool is_reversed = key.starts_with('-');
    const std::optional<int> column = find_column(table, is_reversed ? key.substr(1) : key);
    REQUIRE(column);
    sort_rows(table, *column, is_reversed);
    return labels(table);
}

using Order = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("numbers are sorted largest first, and smallest first with -") {
    CHECK(sorted({0.5, 2.0, -1.0, 1.0}, "x") == Order{1, 3, 0, 2});
    CHECK(sorted({0.5, 2.0, -1.0, 1.0}, "-x") == Order{2, 0, 3, 1});
    CHECK(sorted({integer(9), integer(10), integer(-2)}, "x") == Order{1, 0, 2});
    CHECK(sorted({integer(3), 3.5, integer(4)}, "x") == Order{2, 1, 0});
}

TEST_CASE("integers that a double cannot tell apart are sorted as integers") {
    const std::int64_t big = std::int64_t{1} << 53;
    CHECK(sorted({integer(big), integer(big + 1), integer(big - 1)}, "x") == Order{1, 0, 2});
}

TEST_CASE("text is sorted from A to Z, and from Z to A with -") {
    const std::vector<Cell> names = {std::string("b"), std::string("c"), std::string("a")};
    CHECK(sorted(names, "x") == Order{2, 0, 1});
    CHECK(sorted(names, "-x") == Order{1, 0, 2});
}

TEST_CASE("lists are sorted by their numbers in order") {
    const std::vector<Cell> lists = {IntegerList{3, 1}, IntegerList{3, 2}, IntegerList{},
                                     IntegerList{10}};
    CHECK(sorted(lists, "x") == Order{3, 1, 0, 2});
    CHECK(sorted(lists, "-x") == Order{2, 0, 1, 3});
}

TEST_CASE("NaN comes last in both directions, after text") {
    const std::vector<Cell> cells = {std::nan(""), 1.0,          std::string("none"),
                                     2.0,          std::nan(""), HUGE_VAL};
    CHECK(sorted(cells, "x") == Order{5, 3, 1, 2, 0, 4});
    CHECK(sorted(cells, "-x") == Order{1, 3, 5, 2, 0, 4});
}

TEST_CASE("equal rows keep their order in both directions") {
    const std::vector<Cell> cells = {1.0, 2.0, 1.0, integer(1), 2.0};
    CHECK(sorted(cells, "x") == Order{1, 4, 0, 2, 3});
    CHECK(sorted(cells, "-x") == Order{0, 2, 3, 1, 4});
}

TEST_CASE("rows are sorted by their label too") {
    CHECK(sorted({1.0, 1.0, 1.0}, "layer") == Order{2, 1, 0});
}

TEST_CASE("a column is found by its key or header, and others are not") {
    Table table = table_of({1.0});
    table.columns[1] = {"max_load", "max-load"};
    CHECK(find_column(table, "layer") == 0);
    CHECK(find_column(table, "max_load") == 1);
    CHECK(find_column(table, "max-load") == 1);
    for (const std::string name : {"y", "", "Layer"})
        CHECK(find_column(table, name) == std::nullopt);
}

TEST_CASE("the first rows are kept, the average and a note of what is gone with them") {
    Table table = table_of({1.0, 2.0, 3.0});
    table.average = {std::string("average"), 2.0};
    keep_top(table, 2);
    CHECK(labels(table) == Order{0, 1});
    CHECK(std::get<double>(table.average[1]) == 2.0);
    REQUIRE(table.notes.size() == 1);
    CHECK(table.notes[0].text == "2 of 3 rows; the average is of all of them.");
    CHECK(table.notes[0].kind == Note::Kind::cut);

    Table plain = table_of({1.0, 2.0, 3.0});
    keep_top(plain, 1);
    REQUIRE(plain.notes.size() == 1);
    CHECK(plain.notes[0].text == "1 of 3 rows.");
}

TEST_CASE("nothing is said where all rows stay") {
    for (const int num_rows : {3, 4, 1 << 20}) {
        Table table = table_of({1.0, 2.0, 3.0});
        keep_top(table, num_rows);
        CHECK(labels(table) == Order{0, 1, 2});
        CHECK(table.notes.empty());
    }
}

}  // namespace eplb::test_table_edit
