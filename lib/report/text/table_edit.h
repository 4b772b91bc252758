#ifndef EPLB_REPORT_TEXT_TABLE_EDIT_H
#define EPLB_REPORT_TEXT_TABLE_EDIT_H

#include <string>

#include "lib/report/table.h"

// What a reader may ask of any table: another order, fewer rows. The average stays as it is.
namespace eplb {

// Sorts the rows by the column of this key: numbers and lists of them (by their first, then their
// second, …) largest first, text from A to Z; with "-" before the key the other way round. Equal
// rows keep their order. Where kinds meet in a column, numbers come before lists and those before
// text; NaN comes last. UsageError for a key that no column has.
void sort_rows(Table& table, const std::string& key);

// Keeps the first `num_rows` (at least 1), and says in a note how many there were.
void keep_top(Table& table, int num_rows);

}  // namespace eplb

#endif
