#include <algorithm>

#include "lib/report/text/people_columns.h"
#include "lib/report/text/table_formats.h"

namespace eplb::text {
namespace {

// Characters, for utf-8.
std::size_t width(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) >> 6) != 2;
    }));
}

std::size_t widest(const std::vector<std::string>& lines) {
    std::size_t result = 0;
    for (const std::string& line : lines)
        result = std::max(result, width(line));
    return result;
}

}  // namespace

// Index and columns stand side by side, a space apart: the index to the left, columns to the right.
std::string as_text(const Table& table, std::optional<int> digits) {
    std::vector<std::string> lines = row_labels(table, digits);
    lines.insert(lines.begin(), "");  // the index has no header
    const std::size_t index_width = widest(lines);
    for (std::string& line : lines)
        line.append(index_width - width(line), ' ');

    for (int i = 1; i < static_cast<int>(table.columns.size()); ++i) {
        PeopleColumn column = people_column(table, i, digits);
        std::vector<std::string>& cells = column.cells;
        cells.insert(cells.begin(), (column.is_numeric ? " " : "") + table.columns[i].header);
        const std::size_t column_width = widest(cells);
        for (std::size_t row = 0; row < lines.size(); ++row)
            lines[row].append(1 + column_width - width(cells[row]), ' ').append(cells[row]);
    }

    std::string text = table.title.empty() ? "" : table.title + "\n";
    for (const std::string& line : lines)
        text += line + "\n";
    for (const Note& note : table.notes)
        text += escape_control(note.text) + "\n";
    return text;
}

}  // namespace eplb::text
