#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/report/text/table_writers.h"
#include "tests/test_support.h"

namespace eplb::test_table_writers {

using eplb::Cell;
using eplb::Table;
using eplb::TableFormat;
using eplb::write_table;
using nlohmann::json;

namespace {

json read_cases(const std::string& name) {
    const std::string text = eplb::test::read_text(eplb::test::test_data() / "report" / name);
    return json::parse(text)["cases"];
}

// The last row of a fixture is the average where its label says so.
Table table_of(const json& index,
               const std::vector<std::string>& headers,
               const std::vector<std::vector<Cell>>& columns) {
    Table table;
    table.columns.push_back({"layer", "layer"});
    for (const std::string& header : headers)
        table.columns.push_back({header, header});
    for (std::size_t i = 0; i < index.size(); ++i) {
        std::vector<Cell> row;
        if (index[i].is_string())
            row.emplace_back(index[i].get<std::string>());
        else
            row.emplace_back(index[i].get<std::int64_t>());
        for (const std::vector<Cell>& column : columns)
            row.push_back(column[i]);
        if (index[i].is_string())
            table.average = row;
        else
            table.rows.push_back(row);
    }
    return table;
}

std::vector<Cell> doubles(const json& values) {
    std::vector<Cell> cells;
    for (const auto& value : values)
        cells.emplace_back(std::strtod(value.get<std::string>().c_str(), nullptr));
    return cells;
}

Cell mixed_cell(const json& value) {
    if (value == "NaN")
        return std::nan("");
    if (value.is_string())
        return value.get<std::string>();
    if (value.is_number_float())
        return value.get<double>();
    return value.get<std::int64_t>();
}

Table small_table() {
    Table table;
    table.title = "Load statistics:";
    table.context = {{"ep_size", std::int64_t{36}}, {"source", std::string("a \"b\"\\c")}};
    table.columns = {{"layer", "layer"}, {"mean", "mean"}, {"imbalance_ratio", "imbalance-ratio"}};
    table.rows = {{std::int64_t{3}, 1024.0, 0.1}, {std::int64_t{60}, 1024.0, 1.0 / 3}};
    table.average = {std::string("average"), 1024.0, std::nan("")};
    return table;
}

}  // namespace

TEST_CASE("text equals what pandas prints, byte for byte") {
    const json cases = read_cases("tables.json");
    REQUIRE(cases.size() > 400);
    for (const json& expected : cases) {
        std::vector<std::vector<Cell>> columns;
        for (const json& column : expected["columns"])
            columns.push_back(doubles(column));
        Table table = table_of(expected["index"], {"mean", "std", "imbalance-ratio"}, columns);
        table.title = "Load statistics:";
        CHECK(write_table(table, TableFormat::text) == expected["text"].get<std::string>());
    }
}

TEST_CASE("text equals what pandas prints for columns of integers and of text") {
    const json cases = read_cases("mixed_tables.json");
    REQUIRE(!cases.empty());
    for (const json& expected : cases) {
        std::vector<std::vector<Cell>> columns(expected["columns"].size());
        for (std::size_t i = 0; i < columns.size(); ++i)
            for (const json& value : expected["columns"][i])
                columns[i].push_back(mixed_cell(value));
        const Table table = table_of(expected["index"],
                                     expected["headers"].get<std::vector<std::string>>(), columns);
        CHECK(write_table(table, TableFormat::text) == expected["text"].get<std::string>());
    }
}

TEST_CASE("csv has a header of keys, full precision and the average last") {
    CHECK(write_table(small_table(), TableFormat::csv) ==
          "layer,mean,imbalance_ratio\n"
          "3,1024,0.1\n"
          "60,1024,0.3333333333333333\n"
          "average,1024,nan\n");
}

TEST_CASE("csv quotes what would break a line") {
    Table table;
    table.columns = {{"name", "name"}, {"a,b", "b"}};
    table.rows = {{std::string("plain text"), std::string("say \"hi\"")},
                  {std::string("line\nbreak"), std::string("x,y")}};
    CHECK(write_table(table, TableFormat::csv) ==
          "name,\"a,b\"\n"
          "plain text,\"say \"\"hi\"\"\"\n"
          "\"line\nbreak\",\"x,y\"\n");
}

TEST_CASE("json has ordered keys, a row per line, and null for NaN") {
    CHECK(write_table(small_table(), TableFormat::json) ==
          "{\n"
          "  \"schema_version\": 1,\n"
          "  \"ep_size\": 36,\n"
          "  \"source\": \"a \\\"b\\\"\\\\c\",\n"
          "  \"rows\": [\n"
          "    {\"layer\": 3, \"mean\": 1024, \"imbalance_ratio\": 0.1},\n"
          "    {\"layer\": 60, \"mean\": 1024, \"imbalance_ratio\": 0.3333333333333333}\n"
          "  ],\n"
          "  \"average\": {\"mean\": 1024, \"imbalance_ratio\": null}\n"
          "}\n");
}

TEST_CASE("json and csv give every double back") {
    const std::vector<double> values = {0.1, 1e-7, 1e16, 1.0 / 3, 5e-324, 1.7976931348623157e308,
                                        -0.0};
    Table table;
    table.columns = {{"x", "x"}};
    for (const double value : values)
        table.rows.push_back({value});
    const json parsed = json::parse(write_table(table, TableFormat::json));
    std::string csv = write_table(table, TableFormat::csv);
    csv.erase(0, csv.find('\n') + 1);
    for (std::size_t i = 0; i < values.size(); ++i) {
        CHECK(parsed["rows"][i]["x"].get<double>() == values[i]);
        CHECK(std::strtod(csv.c_str(), nullptr) == values[i]);
        csv.erase(0, csv.find('\n') + 1);
    }
}

TEST_CASE("json stays valid without rows, without an average and with broken text") {
    Table table;
    table.context = {{"path", std::string("\xff\n")}, {"inf", HUGE_VAL}};
    table.columns = {{"layer", "layer"}};
    const json parsed = json::parse(write_table(table, TableFormat::json));
    CHECK(parsed["rows"].empty());
    CHECK(!parsed.contains("average"));
    CHECK(parsed["inf"].is_null());
    CHECK(write_table(table, TableFormat::json) ==
          "{\n  \"schema_version\": 1,\n  \"path\": \"\xef\xbf\xbd\\n\",\n  \"inf\": null,\n"
          "  \"rows\": []\n}\n");
}

TEST_CASE("markdown is a pipe table with the numbers of the text format") {
    CHECK(write_table(small_table(), TableFormat::markdown) ==
          "| layer | mean | imbalance-ratio |\n"
          "| --: | --: | --: |\n"
          "| 3 | 1024.0 | 0.100000 |\n"
          "| 60 | 1024.0 | 0.333333 |\n"
          "| average | 1024.0 | NaN |\n");
}

TEST_CASE("markdown escapes the pipe") {
    Table table;
    table.columns = {{"name", "name"}};
    table.rows = {{std::string("a|b")}};
    CHECK(write_table(table, TableFormat::markdown) == "| name |\n| --: |\n| a\\|b |\n");
}

TEST_CASE("a precision gives doubles that many decimals in text and markdown, of any size") {
    Table table = small_table();
    table.columns.push_back({"note", "note"});
    table.rows[0].push_back(1e-9);  // text and doubles in one column
    table.rows[1].push_back(std::string("none"));
    table.average.push_back(1e12);
    CHECK(write_table(table, TableFormat::text, 2) ==
          "Load statistics:\n"
          "            mean  imbalance-ratio              note\n"
          "3        1024.00             0.10              0.00\n"
          "60       1024.00             0.33              none\n"
          "average  1024.00              NaN  1000000000000.00\n");
    CHECK(write_table(table, TableFormat::markdown, 0) ==
          "| layer | mean | imbalance-ratio | note |\n"
          "| --: | --: | --: | --: |\n"
          "| 3 | 1024 | 0 | 0 |\n"
          "| 60 | 1024 | 0 | none |\n"
          "| average | 1024 | NaN | 1000000000000 |\n");
    CHECK(write_table(table, TableFormat::text, 17).find(" 0.10000000000000001 ") !=
          std::string::npos);
    CHECK(write_table(table, TableFormat::csv, 2) == write_table(table, TableFormat::csv));
    CHECK(write_table(table, TableFormat::json, 2) == write_table(table, TableFormat::json));
}

TEST_CASE("a column has the decimals that it states, unless others are asked for") {
    Table table;
    table.columns = {{"layer", "layer"}, {"mean", "mean"}, {"load", "load", 2}};
    table.rows = {{std::int64_t{3}, 1.5, 2.0 / 3}, {std::int64_t{4}, 2.25, 1.0}};
    CHECK(write_table(table, TableFormat::text) ==
          "   mean  load\n"
          "3  1.50  0.67\n"
          "4  2.25  1.00\n");
    CHECK(write_table(table, TableFormat::text, 1) ==
          "   mean  load\n"
          "3   1.5   0.7\n"
          "4   2.2   1.0\n");
    CHECK(write_table(table, TableFormat::csv) ==
          "layer,mean,load\n3,1.5,0.6666666666666666\n4,2.25,1\n");
}

}  // namespace eplb::test_table_writers
