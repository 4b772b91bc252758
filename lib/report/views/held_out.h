#ifndef EPLB_REPORT_VIEWS_HELD_OUT_H
#define EPLB_REPORT_VIEWS_HELD_OUT_H

#include <optional>
#include <string>

#include "lib/base/parallel.h"
#include "lib/placement/plan/planner.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

// What a placement does on iterations that it was not fitted to, which is what it will do when it
// is deployed; on those that it was fitted to, every placement looks better than it is.
namespace eplb {

// Which iterations a placement is fitted to and which it is tested on, of one recording or of two.
struct HeldOutRanges {
    IterationRange fit;
    IterationRange test;
};

// Of one recording; what is not given: with neither the first half and the second; with one the
// larger stretch before or after it, the later one of two alike.
// Error: a range is not in the recording, or nothing is left for the other.
HeldOutRanges split_iterations(const IterationRange& recorded,
                               const std::optional<IterationRange>& fit,
                               const std::optional<IterationRange>& test);

// Throws an Error that starts with `name` where `range` is not within `recorded`.
void check_range(const IterationRange& range,
                 const IterationRange& recorded,
                 const std::string& name);

// Whether they share an iteration.
bool overlap(const IterationRange& a, const IterationRange& b);

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

enum class Verdict { worth_it, not_worth_it, too_little_data, none };

// A row per layer with imbalance ratios over ranks: unbalanced, fitted, held_out, and greedy where
// it is there; and speedup, (1 + unbalanced) / (1 + held_out): how many times as many tokens the
// fullest rank has without the placement, at equally many tokens per rank. The average's speedup
// is that of the layers' times added up.
//
// The verdict is in the notes and the context (verdict: "worth it", "not worth it", "too little
// data", or "none" where the test overlaps the fit, or may do so). It goes by the 95 % interval of
// the average's speedup (block bootstrap over iterations of the test): above min_speedup, below it,
// or neither.
Table held_out_table(const HeldOut& held_out, double min_speedup, ThreadPool& threads);

}  // namespace eplb

#endif
