#ifndef EPLB_REPORT_TEXT_PEOPLE_COLUMNS_H
#define EPLB_REPORT_TEXT_PEOPLE_COLUMNS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/report/table.h"

// Numbers for people, as pandas prints them.
namespace eplb::text {

// A column is formatted as a whole, with pandas' display.precision of 6:
// - doubles: 6 decimals, from which the zeros that end all of them are cut, one decimal staying;
//   scientific with 6 decimals where a value would vanish (below 1e-6) or takes too much room;
// - integers and text as they are;
// - where doubles and text meet, each double alone, and never scientific.
// Or with the number of digits that the caller asks for, else that of the column, none of them cut,
// never scientific. Numbers and text start with a space or a sign, NaN in a column of doubles does
// not.
struct PeopleColumn {
    std::vector<std::string> cells;  // [rows], the average last
    bool is_numeric = false;         // all of them
};
PeopleColumn people_column(const Table& table, int column, std::optional<int> digits);

// The first column's cells, as they label their rows.
std::vector<std::string> row_labels(const Table& table, std::optional<int> digits);

}  // namespace eplb::text

#endif
