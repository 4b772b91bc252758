#include "tests/bench/placement/text_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace eplb::bench {

TextTable::TextTable(std::vector<std::string> header, std::size_t num_names)
    : num_names_(num_names), rows_{std::move(header)} {}

void TextTable::add(std::vector<std::string> row) {
    row.resize(rows_.front().size());
    rows_.push_back(std::move(row));
}

void TextTable::print() const {
    std::vector<std::size_t> width(rows_.front().size());
    for (const auto& row : rows_)
        for (std::size_t i = 0; i < row.size(); ++i)
            width[i] = std::max(width[i], row[i].size());
    for (const auto& row : rows_) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string padding(width[i] - row[i].size(), ' ');
            line += "  " + (i < num_names_ ? row[i] + padding : padding + row[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        std::puts(line.c_str());
    }
    std::puts("");
    std::fflush(stdout);
}

void print_title(const std::string& section, const std::string& title) {
    std::printf("== %s: %s\n\n", section.c_str(), title.c_str());
}

void print_text(const std::string& text) {
    std::printf("%s\n\n", text.c_str());
    std::fflush(stdout);
}

std::string fixed(double value, int digits) {
    if (!std::isfinite(value))
        return "-";
    std::array<char, 64> text = {};
    std::snprintf(text.data(), text.size(), "%.*f", digits, value);
    return text.data();
}

std::string imbalance_text(double imbalance) {
    return fixed(imbalance, 4);
}

std::string percent(double part, int digits) {
    return fixed(100 * part, digits);
}

std::string change(double value, double baseline) {
    const double relative = 100 * (value / baseline - 1);
    if (!std::isfinite(relative))
        return "-";
    std::array<char, 64> text = {};
    std::snprintf(text.data(), text.size(), "%+.1f %%", relative);
    return text.data();
}

std::string met(bool is_met) {
    return is_met ? "met" : "missed";
}

}  // namespace eplb::bench
