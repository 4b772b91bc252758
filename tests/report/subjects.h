#ifndef EPLB_TESTS_REPORT_SUBJECTS_H
#define EPLB_TESTS_REPORT_SUBJECTS_H

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "lib/statistics/expert_statistics.h"

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

// The table as a reader of its JSON sees it.
nlohmann::json json_of(const Table& table);

// Whether a note holds `part`.
bool has_note(const Table& table, const std::string& part);

}  // namespace eplb::test

#endif
