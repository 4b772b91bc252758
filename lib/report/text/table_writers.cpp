#include "lib/report/text/table_writers.h"

#include <array>
#include <charconv>
#include <cmath>

#include "lib/report/text/table_formats.h"

namespace eplb {
namespace text {

std::vector<const std::vector<Cell>*> all_rows(const Table& table) {
    std::vector<const std::vector<Cell>*> rows;
    for (const std::vector<Cell>& row : table.rows)
        rows.push_back(&row);
    if (!table.average.empty())
        rows.push_back(&table.average);
    return rows;
}

std::string full_precision(double value) {
    if (std::isnan(value))
        return "nan";
    std::array<char, 32> text;
    const std::to_chars_result result =
        std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), result.ptr};
}

std::string escape_control(const std::string& text) {
    std::string escaped;
    for (const char c : text) {
        if (c == '\n')
            escaped += "\\n";
        else if (c == '\r')
            escaped += "\\r";
        else if (c == '\t')
            escaped += "\\t";
        else
            escaped += c;
    }
    return escaped;
}

}  // namespace text

std::string write_table(const Table& table, TableFormat format, std::optional<int> digits) {
    switch (format) {
        case TableFormat::text:
            return text::as_text(table, digits);
        case TableFormat::csv:
            return text::as_csv(table);
        case TableFormat::json:
            return text::as_json(table);
        case TableFormat::markdown:
            return text::as_markdown(table, digits);
    }
    return {};
}

}  // namespace eplb
