#ifndef EPLB_TOOLS_GEN_SUMMARY_H
#define EPLB_TOOLS_GEN_SUMMARY_H

#include <optional>
#include <span>
#include <string>

#include "lib/placement/plan/planner.h"
#include "lib/placement/route/recorded_under.h"
#include "tools/output.h"

namespace eplb {

// What eplb-gen says on stderr of the plan that it made.
struct GenSummary {
    const cli::Output& out;
    std::span<const ExpertStatistics> statistics;  // [workloads]
    std::span<const std::string> paths;            // [workloads]
    const PlanRequest& request;
    const Plan& plan;
    const std::optional<RecordedUnder>& under;  // of the first workload
    bool has_bounded_moves;  // then a layer without tokens keeps what is in force
};

void print_summary(const GenSummary& summary);

}  // namespace eplb

#endif
