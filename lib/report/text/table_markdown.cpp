#include <algorithm>

#include "lib/report/text/people_columns.h"
#include "lib/report/text/table_formats.h"

namespace eplb::text {
namespace {

std::string markdown_cell(const std::string& text) {
    std::string escaped;
    for (const char c : text.substr(std::min(text.find_first_not_of(' '), text.size()))) {
        if (c == '|')
            escaped += '\\';
        escaped += c;
    }
    return escaped;
}

}  // namespace

std::string as_markdown(const Table& table, std::optional<int> digits) {
    std::string header = "|";
    std::string rule = "|";
    std::vector<std::string> lines(all_rows(table).size(), "|");
    for (int i = 0; i < static_cast<int>(table.columns.size()); ++i) {
        header.append(" ").append(markdown_cell(table.columns[i].header)).append(" |");
        rule += " --: |";
        const std::vector<std::string> cells = people_column(table, i, digits).cells;
        for (std::size_t row = 0; row < lines.size(); ++row)
            lines[row].append(" ").append(markdown_cell(cells[row])).append(" |");
    }
    std::string text = header + "\n" + rule + "\n";
    for (const std::string& line : lines)
        text += line + "\n";
    for (const Note& note : table.notes)
        text.append("\n").append(escape_control(note.text)).append("\n");
    return text;
}

}  // namespace eplb::text
