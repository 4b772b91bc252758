#ifndef EPLB_STATISTICS_SELECTION_H
#define EPLB_STATISTICS_SELECTION_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/statistics/expert_statistics.h"

namespace eplb {

struct IterationRange {
    std::int64_t start = 0;
    std::int64_t stop = 0;  // exclusive
};

// "100-200".
std::string range_text(const IterationRange& range);

// Which part of a recording a reader takes.
struct StatisticsSelection {
    std::optional<std::int64_t> iter_start;  // default: the first recorded iteration
    std::optional<std::int64_t> iter_stop;   // exclusive; default: past the last recorded one
    bool sum_sources = false;                // add the source ranks up: num_sources becomes 1
};

// The iterations of `recorded` that `selection` asks for. An Error that starts with `name` and says
// what exists where it asks for none or for others.
IterationRange select_iterations(const StatisticsSelection& selection,
                                 const IterationRange& recorded,
                                 const std::string& name);

// Keeps only some layers. An Error that starts with `name` says what exists where one is not there.
void keep_layers(ExpertStatistics& statistics,
                 const std::vector<int>& layers,
                 const std::string& name);

// No honest count comes near: a larger one is damage, and it takes eight million of them to
// overflow a sum.
constexpr std::int64_t kMaxCount = (std::int64_t{1} << 40) - 1;

}  // namespace eplb

#endif
