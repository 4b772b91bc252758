#ifndef EPLB_TESTS_REPORT_SUBJECTS_H
#define EPLB_TESTS_REPORT_SUBJECTS_H

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "tests/test_support.h"

namespace eplb::test {

// Tokens [layers][iterations][experts], of one source rank, layers from 3 on, iterations from 100.
using Tokens = std::vector<std::vector<std::vector<std::int64_t>>>;

inline ExpertStatistics statistics_of(const Tokens& tokens) {
    ExpertStatistics statistics;
    statistics.num_experts = static_cast<int>(tokens.front().front().size());
    statistics.top_k = 2;
    statistics.ep_size = 1;
    statistics.num_sources = 1;
    statistics.iter_start = 100;
    statistics.num_iterations = static_cast<int>(tokens.front().size());
    for (std::size_t layer = 0; layer < tokens.size(); ++layer)
        statistics.layers.push_back(static_cast<int>(layer) + 3);
    statistics.allocate();
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        for (int i = 0; i < statistics.num_iterations; ++i) {
            const auto& row = tokens[static_cast<std::size_t>(layer)][static_cast<std::size_t>(i)];
            std::copy(row.begin(), row.end(), statistics.row(i, layer, 0).begin());
        }
    return statistics;
}

inline Subject subject_of(const Tokens& tokens, int ep_size, std::string name = "tokens") {
    return recorded_subject(statistics_of(tokens), std::move(name), ep_size);
}

// A cell as a number.
inline double number(const Table& table, std::size_t row, const std::string& key) {
    for (std::size_t i = 0; i < table.columns.size(); ++i)
        if (table.columns[i].key == key) {
            const Cell& cell = row < table.rows.size() ? table.rows[row][i] : table.average[i];
            const auto* const integer = std::get_if<std::int64_t>(&cell);
            return integer != nullptr ? static_cast<double>(*integer) : std::get<double>(cell);
        }
    FAIL("no column " << key);
    return 0;
}

inline IntegerList list(const Table& table, std::size_t row, const std::string& key) {
    for (std::size_t i = 0; i < table.columns.size(); ++i)
        if (table.columns[i].key == key)
            return std::get<IntegerList>(table.rows[row][i]);
    FAIL("no column " << key);
    return {};
}

}  // namespace eplb::test

#endif
