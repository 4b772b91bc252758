#ifndef EPLB_TESTS_REPORT_SUBJECTS_H
#define EPLB_TESTS_REPORT_SUBJECTS_H

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/measured_subject.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "lib/statistics/expert_statistics.h"
#include "tests/test_support.h"

namespace eplb::test {

// [num_iterations][num_experts]
using Counts = std::vector<std::vector<std::int64_t>>;

// One source rank. counts: [layers], all of the same shape.
ExpertStatistics statistics_of(const std::vector<int>& layers, const std::vector<Counts>& counts);

// Its subject, experts in order on ep_size ranks.
Subject subject_of(const std::string& name,
                   int ep_size,
                   const std::vector<int>& layers,
                   const std::vector<Counts>& counts);

// The same with layers from 3 on.
using Tokens = std::vector<Counts>;
ExpertStatistics statistics_of(const Tokens& tokens);
Subject subject_of(const Tokens& tokens, int ep_size, const std::string& name = "tokens");

inline Subject named(Subject subject, std::string name) {
    subject.name = std::move(name);
    return subject;
}

// The subject must outlive it.
MeasuredSubject measured(const Subject& subject, Bins bins = Bins::ranks);

// The table as a reader of its JSON sees it.
nlohmann::json json_of(const Table& table);

// Whether a note holds `part`.
bool has_note(const Table& table, const std::string& part);

// The last note, which must be a verdict.
std::string last_verdict(const Table& table);

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
