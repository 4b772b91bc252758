#ifndef EPLB_REPORT_VIEWS_TIME_TABLE_H
#define EPLB_REPORT_VIEWS_TIME_TABLE_H

#include <cstdint>
#include <string>

#include "lib/report/table.h"
#include "lib/report/timed_subject.h"
#include "lib/statistics/thinning.h"

namespace eplb {

// A row per layer, microseconds: time_us, of the slowest rank of an iteration, the mean over
// iterations, and time_us_p99 over them; mean_rank_time_us; weights_share, of the slowest rank's
// time, 0 to 1; active_experts on it; balanced_time_us, were the tokens spread evenly over all
// slots. Layers without tokens are NaN; the average row is the mean of the others.
//
// The context says the profile, the cost of an expert that it comes to, and of all layers together
// moe_time_us, moe_time_us_p99, moe_balanced_time_us, tokens_per_rank and
// tokens_per_second_per_gpu.
//
// Of another batch than recorded the context has batch_tokens_per_rank, batch_from ("counts" or
// "routed_ids"), batch_iterations and batch_draws, and the least and largest moe_time_us of a draw:
// moe_time_us_draw_low and moe_time_us_draw_high.
struct TimedBatch {
    const Subject* recorded = nullptr;  // what the timed subject's tokens were drawn from
    const Thinned* thinned = nullptr;
    std::int64_t tokens_per_rank = 0;
};
Table time_table(const TimedSubject& timed, const TimedBatch* batch = nullptr);

// What it comes to, for people; some layer has tokens.
std::string time_verdict(const TimedSubject& timed);

// "h200 (t0 20.6 us, an expert's weights 11.5 us, a row 0.0709 us; knee at 162 rows)".
std::string cost_text(const GpuCost& gpu);

// "113 us" or "6.55 ms", three digits.
std::string time_text(double us);

// "1.25 tokens", "4096 tokens".
std::string token_number_text(double tokens);

}  // namespace eplb

#endif
