#ifndef EPLB_REPORT_VIEWS_SPEEDUP_H
#define EPLB_REPORT_VIEWS_SPEEDUP_H

#include "lib/report/measured_subject.h"
#include "lib/report/table.h"
#include "lib/report/views/comparison.h"

namespace eplb {

// What balance is worth, estimated from loads alone: an MoE layer takes as long as its fullest rank
// has tokens. This assumes that the time of a grouped GEMM goes with its tokens (less true of few
// tokens, where weights are what is read), that nothing overlaps, that communication stays as it
// is, that layers run one after another, so that their times add up, and that ranks get equally
// many tokens before and after.

// Of a whole model, whose experts take a share of the time in (0, 1] and get `speedup` times as
// fast: 1 / (1 - share + share / speedup) (Amdahl 1967).
double whole_speedup(double moe_share, double speedup);

struct WorthOptions {
    double moe_share = 0.5;                 // (0, 1], of an iteration's time at the first load
    double tokens_per_second_per_rank = 0;  // measured at the first load; 0: not known
};

// A row per layer that both have. Columns: mean_tokens, of a rank and an iteration, before;
// max_tokens_before and max_tokens_after, those of the fullest rank, a mean over iterations, the
// latter scaled to the same mean_tokens; speedup, their quotient. The average has means of tokens;
// its speedup is that of the layers' times added up. Layers without tokens are NaN and left out.
//
// The context has moe_speedup, moe_share, model_speedup, and where the rate is given
// tokens_per_second_per_rank_{before,after} and tokens_per_second_{before,after} over all ranks.
//
// Both are measured over ranks. after null: perfect balance, which is the most that there is to
// gain. Error: moe_share is not in (0, 1], no layer in common.
Table worth_table(const MeasuredSubject& before,
                  const MeasuredSubject* after,
                  Pairing pairing,
                  const WorthOptions& options);

}  // namespace eplb

#endif
