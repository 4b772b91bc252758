#ifndef EPLB_TIME_MEASUREMENT_TABLE_H
#define EPLB_TIME_MEASUREMENT_TABLE_H

#include <string>
#include <string_view>
#include <vector>

#include "lib/time/profile_fit.h"

namespace eplb {

// Measurements of an MoE layer on one rank, as CSV whose first line names its columns, in any
// order:
//
//     expert_rows,time_us        or        rows,experts,time_us
//     16 3 0 240,61.5                      4096,8,124.192
//
// time_us: microseconds. expert_rows: the rows of each expert on the rank, with spaces between.
// rows, experts: rows of all experts on the rank together, and how many experts these are, each of
// which has equally many. A row is a routed token: one that goes to two experts there is two.
//
// name: of the file, which starts errors; a fault names its line. Error: other columns, a line with
// more or fewer cells, no number, NaN, a negative number, a time of 0, no expert.
std::vector<Measurement> parse_measurements(std::string_view text, const std::string& name);

}  // namespace eplb

#endif
