#ifndef EPLB_REPORT_TEXT_TABLE_FORMATS_H
#define EPLB_REPORT_TEXT_TABLE_FORMATS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/report/table.h"

// The formats of table_writers.h, one file each, and what they share.
namespace eplb::text {

std::string as_text(const Table& table, std::optional<int> digits);
std::string as_markdown(const Table& table, std::optional<int> digits);
std::string as_csv(const Table& table);
std::string as_json(const Table& table);

// The rows, and then the average where there is one.
std::vector<const std::vector<Cell>*> all_rows(const Table& table);

// The shortest digits that give the same double again; NaN is nan.
std::string full_precision(double value);

// Without control characters, so that a line stays one.
std::string escape_control(const std::string& text);

}  // namespace eplb::text

#endif
