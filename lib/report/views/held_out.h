#ifndef EPLB_REPORT_VIEWS_HELD_OUT_H
#define EPLB_REPORT_VIEWS_HELD_OUT_H

#include <optional>
#include <string>

#include "lib/base/parallel.h"
#include "lib/placement/plan/planner.h"
#include "lib/report/subject.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

// What a placement does on iterations that it was not fitted to, which is what it will do when it
// is deployed; on those that it was fitted to, every placement looks better than it is.
namespace eplb {

// A placement and what it is held against; all have the same layers. The subjects bear the names of
// the recordings.
struct HeldOut {
    std::string placement;          // its name
    Subject unbalanced;             // experts in order, on the iterations of the test
    Subject fitted;                 // under the placement, on the iterations of the fit
    Subject held_out;               // under the placement, on the iterations of the test
    std::optional<Subject> greedy;  // under TensorRT-LLM's greedy, fitted alike; of the test
    bool overlaps = false;          // the test has iterations of the fit
    bool fit_is_assumed = false;    // nobody said what the placement was fitted to
};

// Iterations of a recording.
struct HeldOutPart {
    const ExpertStatistics* statistics = nullptr;
    std::string name;
    IterationRange range;
};

// Places by eplb-gen's planner (request.algorithm; automatic is eplb-gen's default) what is held
// out. Where the counts are kept by source rank the placement is the one that eplb-gen gives.
// unbalanced: of the test's statistics, all iterations.
// Error: slot ids, other experts or layers in the two, what check_plan_request() says.
HeldOut plan_held_out(const HeldOutPart& fit,
                      const HeldOutPart& test,
                      const Subject& unbalanced,
                      const PlanRequest& request,
                      ThreadPool& threads);

}  // namespace eplb

#endif
