#ifndef EPLB_STATISTICS_RECORDING_CHECKS_H
#define EPLB_STATISTICS_RECORDING_CHECKS_H

#include <string>
#include <vector>

#include "lib/statistics/expert_statistics.h"

namespace eplb {

// What is odd about a recording and still usable, a sentence each without its name:
//
//   layers without tokens               (their replicas are dealt evenly)
//   layers that differ in their totals  (every token passes all layers, so that a recorder of whole
//                                        passes counts the same in each)
//   iterations at the start that look like warm-up: two or more with the same counts, or tokens
//   that all took the same experts
//
// Works on statistics with or without source ranks.
std::vector<std::string> recording_warnings(const ExpertStatistics& statistics);

// Error where workloads cannot be of one model: other experts, experts per token or layers than
// those of `first`.
void require_alike(const ExpertStatistics& statistics,
                   const std::string& name,
                   const ExpertStatistics& first,
                   const std::string& first_name);

}  // namespace eplb

#endif
