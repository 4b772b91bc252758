#ifndef EPLB_REPORT_VIEWS_SPEEDUP_H
#define EPLB_REPORT_VIEWS_SPEEDUP_H

#include "lib/report/measured_subject.h"
#include "lib/report/table.h"
#include "lib/report/timed_subject.h"
#include "lib/report/views/comparison.h"

namespace eplb {

// What balance is worth. Without a GPU in tokens alone: how many fewer the fullest rank has, at
// equally many per rank. With one in time: layers run one after another, so that their times add
// up, nothing overlaps, and communication stays as it is.

// Of a whole model, whose experts take a share of the time in (0, 1] and get `speedup` times as
// fast: 1 / (1 - share + share / speedup) (Amdahl 1967).
double whole_speedup(double moe_share, double speedup);

struct WorthOptions {
    double moe_share = 0.5;                 // (0, 1], of an iteration's time at the first load
    double tokens_per_second_per_rank = 0;  // measured at the first load; 0: not known
};

// A row per layer that both have. Columns: mean_tokens, of a rank and an iteration, before;
// max_tokens_before and max_tokens_after, those of the fullest rank, a mean over iterations, the
// latter scaled to the same mean_tokens; token_ratio, their quotient. The average has means of
// tokens; its token_ratio is that of the layers' tokens added up. Layers without tokens are NaN and
// left out. The context has token_ratio, with its 95 % interval where iterations tell.
//
// With timed sides there are time_us_before, time_us_after, of the iterations as they are, and
// speedup, their quotient, too; and in the context moe_time_us_before, moe_time_us_after,
// moe_speedup (with its interval), moe_share, model_speedup, and where the rate is given
// tokens_per_second_per_rank_{before,after} and tokens_per_second_{before,after} over all ranks.
struct WorthSide {
    const MeasuredSubject* measured = nullptr;  // over ranks
    const TimedSubject* timed = nullptr;        // null: no GPU is known
};

// after.measured null: perfect balance, the tokens spread evenly, over all slots where time is
// concerned. Error: moe_share is not in (0, 1], no layer in common.
Table worth_table(const WorthSide& before,
                  const WorthSide& after,
                  Pairing pairing,
                  const WorthOptions& options);

}  // namespace eplb

#endif
