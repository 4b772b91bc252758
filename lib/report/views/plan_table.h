#ifndef EPLB_REPORT_VIEWS_PLAN_TABLE_H
#define EPLB_REPORT_VIEWS_PLAN_TABLE_H

#include <span>
#include <string>

#include "lib/placement/plan/planner.h"
#include "lib/placement/plan/sweep.h"
#include "lib/report/table.h"

namespace eplb {

// The name that --algorithm gives it: "risk", "trtllm-cooccurrence"; that of automatic is "auto".
std::string algorithm_name(Algorithm algorithm);

// A row per layer, with what planner.h says of each figure; all are imbalance ratios. Columns whose
// figures nobody knows are left out, those of a layer without tokens are NaN.
Table plan_table(const Plan& plan, std::span<const int> layers);

// A row per workload, means over layers.
Table workload_table(const Plan& plan, std::span<const std::string> names);

// A row per deployment; the last column marks the best trade-offs with *.
Table sweep_table(std::span<const SweepRow> rows, bool has_memory);

}  // namespace eplb

#endif
