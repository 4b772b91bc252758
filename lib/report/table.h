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

inline bool is_empty(const Cell& cell) {
    return std::holds_alternative<std::monostate>(cell);
}

struct TableColumn {
    std::string key;     // in JSON and CSV: imbalance_ratio
    std::string header;  // for people: imbalance-ratio
    int decimals = -1;   // that people see; -1: as pandas would
};

// A sentence for people below a table. What a page does with it goes by its kind.
struct Note {
    enum class Kind {
        number,   // what a subject's number stands for: pages say it anyway
        scope,    // what the figures cover: which axis, aggregation and layers
        verdict,  // what they come to: the headline of a page
        cut,      // how many rows were left out: of the table alone
    };
    Note(std::string what, Kind kind_of = Kind::scope) : text(std::move(what)), kind(kind_of) {}
    Note(const char* what) : text(what) {}

    std::string text;
    Kind kind = Kind::scope;
    std::string headline = {};  // a verdict on a page; empty: the same text
};

// Rows built once, written in any format by table_writers.h.
struct Table {
    std::string title;                                  // "Load statistics:"
    std::vector<std::pair<std::string, Cell>> context;  // what the numbers cover; JSON members
    std::vector<TableColumn> columns;                   // the first labels the row
    std::vector<std::vector<Cell>> rows;                // [rows][columns]
    std::vector<Cell> average;                          // [columns], label first; may be empty
    std::vector<Note> notes;
};

}  // namespace eplb

#endif
