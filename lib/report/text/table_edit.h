#ifndef EPLB_REPORT_TEXT_TABLE_EDIT_H
#define EPLB_REPORT_TEXT_TABLE_EDIT_H

#include <optional>
#include <string>

#include "lib/report/table.h"

// What a reader may ask of any table: another order, fewer rows. The average stays as it is.
namespace eplb {

// The column of this key or header.
std::optional<int> find_column(const Table& table, const std::string& name);

// Sorts the rows by a column: numbers and lists of them (by their first, then their
// second, …) largest first, text from A to Z; reversed the other way round. Equal
// rows keep their order. Where kinds meet in a column, numbers come before lists and those before
// text; NaN comes last.
void sort_rows(Table& table, int column, bool is_reversed);

// Keeps the first `num_rows` (at least 1), and says in a note how many there were.
void keep_top(Table& table, int num_rows);

}  // namespace eplb

#endif
