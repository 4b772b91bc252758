#ifndef EPLB_REPORT_VIEWS_TIME_TABLE_H
#define EPLB_REPORT_VIEWS_TIME_TABLE_H

#include <string>

#include "lib/report/table.h"
#include "lib/report/timed_subject.h"

namespace eplb {

// A row per layer, microseconds: time_us, of the slowest rank of an iteration, the mean over
// iterations, and time_us_p99 over them; mean_rank_time_us; weights_share, of the slowest rank's
// time, 0 to 1; active_experts on it; balanced_time_us, were the tokens spread evenly over all
// slots. Layers without tokens are NaN; the average row is the mean of the others.
//
// The context says the profile, the cost of an expert that it comes to, and of all layers together
// moe_time_us, moe_time_us_p99, moe_balanced_time_us, tokens_per_rank and
// tokens_per_second_per_gpu.
Table time_table(const TimedSubject& timed);

// What it comes to, for people; some layer has tokens.
std::string time_verdict(const TimedSubject& timed);

// "h200 (t0 20.6 us, an expert's weights 11.5 us, a row 0.0709 us; knee at 162 rows)".
std::string cost_text(const GpuCost& gpu);

// "113 us" or "6.55 ms", three digits.
std::string time_text(double us);

}  // namespace eplb

#endif
