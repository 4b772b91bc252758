#ifndef EPLB_REPORT_TABLE_H
#define EPLB_REPORT_TABLE_H

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace eplb {

// A column of integers in which one cell is a double is written as doubles. A list ("3 17 250", the
// hottest experts of a rank) is an array in JSON.
using IntegerList = std::vector<std::int64_t>;
// Nothing, std::monostate, is an empty cell, and null in JSON.
using Cell = std::variant<std::monostate, std::int64_t, double, std::string, IntegerList>;

struct TableColumn {
    std::string key;     // in JSON and CSV: imbalance_ratio
    std::string header;  // for people: imbalance-ratio
    int decimals = -1;   // that people see; -1: as pandas would
};

// Rows built once, written in any format by table_writers.h.
struct Table {
    std::string title;                                  // "Load statistics:"
    std::vector<std::pair<std::string, Cell>> context;  // what the numbers cover; JSON members
    std::vector<TableColumn> columns;                   // the first labels the row
    std::vector<std::vector<Cell>> rows;                // [rows][columns]
    std::vector<Cell> average;                          // [columns], label first; may be empty
    // Sentences for people: which axis, aggregation and layers the numbers cover; a verdict.
    std::vector<std::string> notes;
};

}  // namespace eplb

#endif
