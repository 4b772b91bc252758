#include "lib/report/text/people_columns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "lib/base/text.h"
#include "lib/report/text/table_formats.h"

namespace eplb::text {
namespace {

constexpr int kDecimals = 6;
constexpr double kSmall = 1e-6;
constexpr double kLarge = 1e6;
constexpr std::size_t kMaxFixedLength = kDecimals + 6;

using Digits = std::optional<int>;

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

std::string format_lone_double(double value, Digits digits) {
    if (std::isnan(value))
        return " NaN";
    if (digits)
        return format_double("% .*f", value, *digits);
    std::vector<std::string> number = {format_double("% .*f", value)};
    trim_zeros(number);
    return number.front();
}

std::string format_alone(const Cell& cell, Digits digits) {
    if (is_empty(cell))
        return " ";
    if (const double* const value = std::get_if<double>(&cell))
        return format_lone_double(*value, digits);
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::string(*value < 0 ? "" : " ").append(std::to_string(*value));
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return " " + joined(*numbers, " ");
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

std::vector<std::string> format_column(const Column& column, Digits digits) {
    std::vector<std::string> texts;
    if (is_numeric(column) && has_double(column)) {
        std::vector<double> values(column.size());
        std::transform(column.begin(), column.end(), values.begin(), to_double);
        if (!digits)
            return format_doubles(values);
        for (const double value : values)
            texts.push_back(format_double("% .*f", value, *digits));
        return texts;
    }
    for (const Cell& cell : column)
        texts.push_back(format_alone(cell, digits));
    return texts;
}

Column column_of(const Table& table, int index) {
    Column column;
    for (const std::vector<Cell>* const row : all_rows(table))
        column.push_back((*row)[index]);
    return column;
}

}  // namespace

PeopleColumn people_column(const Table& table, int column, std::optional<int> digits) {
    const Column cells = column_of(table, column);
    if (!digits && table.columns[column].decimals >= 0)
        digits = table.columns[column].decimals;
    return {format_column(cells, digits), is_numeric(cells)};
}

std::vector<std::string> row_labels(const Table& table, std::optional<int> digits) {
    std::vector<std::string> labels;
    for (const Cell& cell : column_of(table, 0)) {
        const std::string text = format_alone(cell, digits);
        labels.push_back(text.front() == ' ' ? text.substr(1) : text);
    }
    return labels;
}

}  // namespace eplb::text
