#include "lib/report/text/table_writers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace eplb {
namespace {

// ---------------------------------------------------------------- numbers for people, as in pandas
//
// A column is formatted as a whole, with pandas' display.precision of 6:
// - doubles: 6 decimals, from which the zeros that end all of them are cut, one decimal staying;
//   scientific with 6 decimals where a value would vanish (below 1e-6) or takes too much room;
// - integers and text as they are;
// - where doubles and text meet, each double alone, and never scientific.
// Or with the number of decimals that the caller asks for, none of them cut, never scientific.
// Numbers and text start with a space or a sign, NaN in a column of doubles does not.

constexpr int kDecimals = 6;
constexpr double kSmall = 1e-6;
constexpr double kLarge = 1e6;
constexpr std::size_t kMaxFixedLength = kDecimals + 6;

using Precision = std::optional<int>;

std::string format_double(const char* format, double value, int decimals = kDecimals) {
    if (std::isnan(value))
        return "NaN";
    std::array<char, 400> text;  // the largest double has 309 digits before the point
    const int length = std::snprintf(text.data(), text.size(), format, decimals, value);
    return {text.data(), static_cast<std::size_t>(length)};
}

bool has_decimals(const std::string& text) {
    return text.find('.') != std::string::npos;
}

std::size_t trailing_zeros(const std::string& text) {
    const std::size_t last = text.find_last_not_of('0');
    return last == std::string::npos ? text.size() : text.size() - 1 - last;
}

// Cuts as many zeros from the end of every number as all of them have, but leaves one decimal.
void trim_zeros(std::vector<std::string>& numbers) {
    std::size_t num_zeros = kDecimals - 1;
    for (const std::string& number : numbers)
        if (has_decimals(number))
            num_zeros = std::min(num_zeros, trailing_zeros(number));
    for (std::string& number : numbers)
        if (has_decimals(number))
            number.resize(number.size() - num_zeros);
}

std::vector<std::string> format_doubles(const std::vector<double>& values) {
    std::vector<std::string> texts;
    std::size_t length = 0;
    bool any_small = false;
    bool any_large = false;
    for (const double value : values) {
        texts.push_back(format_double("% .*f", value));
        const double size = std::abs(value);
        any_small = any_small || (size > 0 && size < kSmall);
        any_large = any_large || size > kLarge;
    }
    trim_zeros(texts);
    for (const std::string& text : texts)
        length = std::max(length, text.size());
    if (any_small || (any_large && length > kMaxFixedLength))
        std::transform(values.begin(), values.end(), texts.begin(),
                       [](double value) { return format_double("% .*e", value); });
    return texts;
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

std::string format_lone_double(double value, Precision precision) {
    if (std::isnan(value))
        return " NaN";
    if (precision)
        return format_double("% .*f", value, *precision);
    std::vector<std::string> number = {format_double("% .*f", value)};
    trim_zeros(number);
    return number.front();
}

std::string join(const IntegerList& numbers, const char* separator) {
    std::string text;
    for (const std::int64_t number : numbers)
        text.append(text.empty() ? "" : separator).append(std::to_string(number));
    return text;
}

bool is_empty(const Cell& cell) {
    return std::holds_alternative<std::monostate>(cell);
}

std::string format_alone(const Cell& cell, Precision precision) {
    if (is_empty(cell))
        return " ";
    if (const double* const value = std::get_if<double>(&cell))
        return format_lone_double(*value, precision);
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::string(*value < 0 ? "" : " ").append(std::to_string(*value));
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return " " + join(*numbers, " ");
    return std::string(" ").append(escape_control(std::get<std::string>(cell)));
}

using Column = std::vector<Cell>;

bool is_numeric(const Column& column) {
    return std::all_of(column.begin(), column.end(), [](const Cell& cell) {
        return std::holds_alternative<double>(cell) || std::holds_alternative<std::int64_t>(cell);
    });
}

bool has_double(const Column& column) {
    return std::any_of(column.begin(), column.end(),
                       [](const Cell& cell) { return std::holds_alternative<double>(cell); });
}

double to_double(const Cell& cell) {
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return static_cast<double>(*value);
    return std::get<double>(cell);
}

std::vector<std::string> format_column(const Column& column, Precision precision) {
    std::vector<std::string> texts;
    if (is_numeric(column) && has_double(column)) {
        std::vector<double> values(column.size());
        std::transform(column.begin(), column.end(), values.begin(), to_double);
        if (!precision)
            return format_doubles(values);
        for (const double value : values)
            texts.push_back(format_double("% .*f", value, *precision));
        return texts;
    }
    for (const Cell& cell : column)
        texts.push_back(format_alone(cell, precision));
    return texts;
}

std::string format_label(const Cell& cell, Precision precision) {
    const std::string text = format_alone(cell, precision);
    return text.front() == ' ' ? text.substr(1) : text;
}

// The rows, and then the average where there is one.
std::vector<const std::vector<Cell>*> all_rows(const Table& table) {
    std::vector<const std::vector<Cell>*> rows;
    for (const std::vector<Cell>& row : table.rows)
        rows.push_back(&row);
    if (!table.average.empty())
        rows.push_back(&table.average);
    return rows;
}

Column column_of(const Table& table, std::size_t index) {
    Column column;
    for (const std::vector<Cell>* const row : all_rows(table))
        column.push_back((*row)[index]);
    return column;
}

// ---------------------------------------------------------------- text and markdown

// What the caller asks for goes before what the column has.
Precision precision_of(const TableColumn& column, Precision asked) {
    if (asked || column.decimals < 0)
        return asked;
    return column.decimals;
}

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

// Index and columns stand side by side, a space apart: the index to the left, columns to the right.
std::string write_text(const Table& table, Precision precision) {
    std::vector<std::string> lines = {""};
    for (const Cell& label : column_of(table, 0))
        lines.push_back(format_label(label, precision));
    const std::size_t index_width = widest(lines);
    for (std::string& line : lines)
        line.append(index_width - width(line), ' ');

    for (std::size_t i = 1; i < table.columns.size(); ++i) {
        const Column column = column_of(table, i);
        std::vector<std::string> cells =
            format_column(column, precision_of(table.columns[i], precision));
        cells.insert(cells.begin(), (is_numeric(column) ? " " : "") + table.columns[i].header);
        const std::size_t column_width = widest(cells);
        for (std::size_t row = 0; row < lines.size(); ++row)
            lines[row].append(1 + column_width - width(cells[row]), ' ').append(cells[row]);
    }

    std::string text = table.title.empty() ? "" : table.title + "\n";
    for (const std::string& line : lines)
        text += line + "\n";
    for (const std::string& note : table.notes)
        text += escape_control(note) + "\n";
    return text;
}

std::string markdown_cell(const std::string& text) {
    std::string escaped;
    for (const char c : text.substr(std::min(text.find_first_not_of(' '), text.size()))) {
        if (c == '|')
            escaped += '\\';
        escaped += c;
    }
    return escaped;
}

std::string write_markdown(const Table& table, Precision precision) {
    std::string header = "|";
    std::string rule = "|";
    std::vector<std::string> lines(all_rows(table).size(), "|");
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        header.append(" ").append(markdown_cell(table.columns[i].header)).append(" |");
        rule += " --: |";
        const std::vector<std::string> cells =
            format_column(column_of(table, i), precision_of(table.columns[i], precision));
        for (std::size_t row = 0; row < lines.size(); ++row)
            lines[row].append(" ").append(markdown_cell(cells[row])).append(" |");
    }
    std::string text = header + "\n" + rule + "\n";
    for (const std::string& line : lines)
        text += line + "\n";
    for (const std::string& note : table.notes)
        text.append("\n").append(escape_control(note)).append("\n");
    return text;
}

// ---------------------------------------------------------------- csv and json

// The shortest digits that give the same double again.
std::string full_precision(double value) {
    if (std::isnan(value))
        return "nan";
    std::array<char, 32> text;
    const std::to_chars_result result =
        std::to_chars(text.data(), text.data() + text.size(), value);
    return {text.data(), result.ptr};
}

std::string csv_cell(const Cell& cell) {
    if (is_empty(cell))
        return {};
    if (const double* const value = std::get_if<double>(&cell))
        return full_precision(*value);
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::to_string(*value);
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return join(*numbers, " ");
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

std::string write_csv(const Table& table) {
    std::vector<Cell> header;
    for (const TableColumn& column : table.columns)
        header.emplace_back(column.key);
    std::string text = csv_line(header);
    for (const std::vector<Cell>* const row : all_rows(table))
        text += csv_line(*row);
    return text;
}

std::string json_string(const std::string& text) {
    // a path may hold bytes that are no utf-8
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_value(const Cell& cell) {
    if (is_empty(cell))
        return "null";
    if (const double* const value = std::get_if<double>(&cell))
        return std::isfinite(*value) ? full_precision(*value) : "null";
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::to_string(*value);
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return "[" + join(*numbers, ", ") + "]";
    return json_string(std::get<std::string>(cell));
}

std::string json_object(const Table& table,
                        const std::vector<Cell>& row,
                        std::size_t first_column) {
    std::string text = "{";
    for (std::size_t i = first_column; i < table.columns.size(); ++i)
        text.append(i == first_column ? "" : ", ")
            .append(json_string(table.columns[i].key))
            .append(": ")
            .append(json_value(row[i]));
    return text + "}";
}

std::string write_json(const Table& table) {
    std::string text = "{\n  \"schema_version\": 1";
    for (const auto& [key, value] : table.context)
        text.append(",\n  ").append(json_string(key)).append(": ").append(json_value(value));
    text += ",\n  \"rows\": [";
    for (std::size_t i = 0; i < table.rows.size(); ++i)
        text.append(i == 0 ? "\n    " : ",\n    ").append(json_object(table, table.rows[i], 0));
    text += table.rows.empty() ? "]" : "\n  ]";
    if (!table.average.empty())
        text.append(",\n  \"average\": ").append(json_object(table, table.average, 1));
    for (std::size_t i = 0; i < table.notes.size(); ++i)
        text.append(i == 0 ? ",\n  \"notes\": [\n    " : ",\n    ")
            .append(json_string(table.notes[i]));
    if (!table.notes.empty())
        text += "\n  ]";
    return text + "\n}\n";
}

}  // namespace

std::string write_table(const Table& table, TableFormat format, std::optional<int> precision) {
    switch (format) {
        case TableFormat::text:
            return write_text(table, precision);
        case TableFormat::csv:
            return write_csv(table);
        case TableFormat::json:
            return write_json(table);
        case TableFormat::markdown:
            return write_markdown(table, precision);
    }
    return {};
}

}  // namespace eplb
