#ifndef EPLB_REPORT_TEXT_TABLE_WRITERS_H
#define EPLB_REPORT_TEXT_TABLE_WRITERS_H

#include <optional>
#include <string>

#include "lib/report/table.h"

namespace eplb {

enum class TableFormat { text, csv, json, markdown };

// text: the title, then what pandas prints for the same frame, to the byte, never elided. Its first
//       column is the index: to the left and without a header. Then the notes, a line each.
// csv:  header line of keys, the average last, full precision, LF; NaN is nan.
// json: {"schema_version": 1, context…, "rows": [{key: value, …}, …], "average": {…}}, a row per
//       line, full precision; NaN and infinity are null. The average has no label, and is left out
//       where there is none; so are "notes", [string].
// markdown: a pipe table, numbers as in text, and the notes as paragraphs.
//
// Full precision: the shortest digits that give the same double again; 1024.0 is 1024.
// With `digits`, 0 to 17, doubles have that many of them after the point in text and markdown,
// whatever their size.
std::string write_table(const Table& table,
                        TableFormat format,
                        std::optional<int> digits = std::nullopt);

}  // namespace eplb

#endif
