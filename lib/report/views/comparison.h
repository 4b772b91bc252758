#ifndef EPLB_REPORT_VIEWS_COMPARISON_H
#define EPLB_REPORT_VIEWS_COMPARISON_H

#include <span>
#include <string>

#include "lib/report/measured_subject.h"
#include "lib/report/table.h"
#include "lib/report/timed_subject.h"
#include "lib/report/views/comparison_figures.h"

namespace eplb {

// What to know of a config that is measured on the recording it may come from.
std::string fitted_note();

// Each subject against the first: a row per layer that all have. Columns imbalance_ratio_N from 1
// on; from 2 on delta_N, the difference to the first, change_N, the same relative to it (NaN where
// it is 0), and significant_N: "" where the 95 % interval of the difference does not hold 0, "~"
// where it does, "?" where there are too few iterations for one (kLeastIterations).
//
// The average is over the layers with tokens in every subject; the others are NaN. The context
// says what each number is, and gives the interval of the average's difference as
// delta_N_low and delta_N_high; there is a verdict per subject, and of several on the best.
//
// At least two subjects; those that are paired have the same iterations. timed: the same subjects
// on a GPU, or none; then there are verdicts in microseconds, and moe_time_us_N, of the layers that
// all have, moe_time_delta_N_low and moe_time_delta_N_high in the context. Error: no layer in
// common.
Table comparison_table(std::span<const MeasuredSubject* const> subjects,
                       Pairing pairing,
                       std::span<const TimedSubject> timed = {});

}  // namespace eplb

#endif
