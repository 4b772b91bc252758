#include <algorithm>
#include <cmath>

#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

constexpr int kDigits = 4;  // that count in the largest number of a column
constexpr int kMostCellDecimals = 6;

// Of one column, so that points stand below each other.
int decimals_of(const Table& table, std::size_t column) {
    double largest = 0;
    const auto look_at = [&](const std::vector<Cell>& row) {
        if (const double* const value = std::get_if<double>(&row[column]))
            if (std::isfinite(*value))
                largest = std::max(largest, std::abs(*value));
    };
    for (const std::vector<Cell>& row : table.rows)
        look_at(row);
    if (!table.average.empty())
        look_at(table.average);
    if (largest == 0)
        return 1;
    const int digits_before = static_cast<int>(std::floor(std::log10(largest))) + 1;
    return std::clamp(kDigits - digits_before, 1, kMostCellDecimals);
}

std::string text_of(const Cell& cell, int decimals) {
    if (const double* const value = std::get_if<double>(&cell))
        return std::isfinite(*value) ? fixed(*value, decimals) : "–";
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::to_string(*value);
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return joined(*numbers, " ");
    const std::string* const words = std::get_if<std::string>(&cell);
    return words == nullptr ? "" : escape(*words);
}

// Numbers stand to the right by the style sheet; text to the left.
std::string row_of(const std::vector<Cell>& row, const std::vector<int>& decimals) {
    std::string text = "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
        const bool is_text = std::holds_alternative<std::string>(row[i]);
        append(text, i == 0 ? "<th scope=\"row\"" : "<td", is_text ? " class=\"t\">" : ">",
               text_of(row[i], decimals[i]), i == 0 ? "</th>" : "</td>");
    }
    return text + "</tr>\n";
}

// A header stands as the cells below it do.
std::string header_row(const Table& table) {
    std::string text = "<tr>";
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        const bool is_text =
            !table.rows.empty() && std::holds_alternative<std::string>(table.rows.front()[i]);
        append(text, "<th scope=\"col\"", is_text ? " class=\"t\">" : ">",
               escape(table.columns[i].header), "</th>");
    }
    return text + "</tr>";
}

std::string name_of(const Table& table, std::size_t index) {
    std::string name = table.title;
    if (!name.empty() && name.back() == ':')
        name.pop_back();
    return name.empty() ? "Table " + std::to_string(index + 1) : name;
}

std::string one_table(const Table& table, std::size_t index, bool is_open) {
    std::vector<int> decimals;
    for (std::size_t i = 0; i < table.columns.size(); ++i)
        decimals.push_back(decimals_of(table, i));
    std::string text;
    append(text, is_open ? "<details open=\"open\">" : "<details>", "<summary>",
           escape(name_of(table, index)), " (", std::to_string(table.rows.size()),
           table.rows.size() == 1 ? " row" : " rows",
           ")</summary>\n<div class=\"sheet\"><table>\n<thead>", header_row(table),
           "</thead>\n<tbody>\n");
    for (const std::vector<Cell>& row : table.rows)
        text += row_of(row, decimals);
    text += "</tbody>\n";
    if (!table.average.empty())
        append(text, "<tfoot>", row_of(table.average, decimals), "</tfoot>\n");
    text += "</table></div>\n";
    for (const Note& note : table.notes)
        append(text, "<p class=\"small\">", prose(note.text), "</p>\n");
    return text + "</details>\n";
}

}  // namespace

std::string first_table(const ReportPage& page) {
    return page.tables.empty()
               ? ""
               : "<section>" + one_table(page.tables.front(), 0, true) + "</section>\n";
}

std::string tables(const std::vector<Table>& tables, bool is_first_elsewhere) {
    const std::size_t first = is_first_elsewhere ? 1 : 0;
    if (tables.size() <= first)
        return "";
    std::string text = "<section><h2>Tables</h2>\n";
    for (std::size_t i = first; i < tables.size(); ++i)
        text += one_table(tables[i], i, i == 0);
    return text + "</section>\n";
}

}  // namespace eplb::html
