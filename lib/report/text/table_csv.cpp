#include "lib/base/text.h"
#include "lib/report/text/table_formats.h"

namespace eplb::text {
namespace {

std::string csv_cell(const Cell& cell) {
    if (is_empty(cell))
        return {};
    if (const double* const value = std::get_if<double>(&cell))
        return full_precision(*value);
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::to_string(*value);
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return joined(*numbers, " ");
    const std::string& text = std::get<std::string>(cell);
    if (text.find_first_of(",\"\r\n") == std::string::npos)
        return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"')
            quoted += '"';
        quoted += c;
    }
    return quoted + "\"";
}

std::string csv_line(const std::vector<Cell>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i)
        line.append(i == 0 ? "" : ",").append(csv_cell(cells[i]));
    return line + "\n";
}

}  // namespace

std::string as_csv(const Table& table) {
    std::vector<Cell> header;
    for (const TableColumn& column : table.columns)
        header.emplace_back(column.key);
    std::string text = csv_line(header);
    for (const std::vector<Cell>* const row : all_rows(table))
        text += csv_line(*row);
    return text;
}

}  // namespace eplb::text
