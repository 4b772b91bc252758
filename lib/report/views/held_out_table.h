#ifndef EPLB_REPORT_VIEWS_HELD_OUT_TABLE_H
#define EPLB_REPORT_VIEWS_HELD_OUT_TABLE_H

#include "lib/base/not_known.h"
#include "lib/base/parallel.h"
#include "lib/report/table.h"
#include "lib/report/views/held_out.h"
#include "lib/time/layer_cost.h"

namespace eplb {

enum class Verdict { worth_it, not_worth_it, too_little_data, none };

// A row per layer with imbalance ratios over ranks: unbalanced, fitted, held_out, and greedy where
// it is there; and token_ratio, (1 + unbalanced) / (1 + held_out): how many times as many tokens
// the fullest rank has without the placement, at equally many tokens per rank. The average's is
// that of the layers added up. On a GPU there are time_us_unbalanced, time_us_held_out,
// time_us_greedy where it is there, of the test, and speedup, the quotient of the first two,
// likewise.
//
// The verdict is in the notes and the context (verdict: "worth it", "not worth it", "too little
// data", or "none" where the test overlaps the fit, or may do so). It goes by the 95 % interval of
// the average's speedup, or of its token_ratio where no GPU is known (block bootstrap over
// iterations of the test): above min_speedup, below it, or neither.
struct HeldOutReport {
    Table table;
    Verdict verdict = Verdict::none;
    double imbalance_ratio = kNotKnown;  // the average's on the test
};
HeldOutReport held_out_table(const HeldOut& held_out,
                             double min_speedup,
                             ThreadPool& threads,
                             const GpuCost* gpu = nullptr);

}  // namespace eplb

#endif
