#ifndef EPLB_REPORT_VIEWS_HEAT_H
#define EPLB_REPORT_VIEWS_HEAT_H

#include <string>

#include "lib/report/measured_subject.h"

// What heatmaps in characters and on pages have in common.
namespace eplb {

// Relative loads from here on look alike.
constexpr double kHottest = 2;

// In which of `num_levels` equal parts of [0, kHottest] a relative load lies, from 0; the last
// takes all that is above.
int heat_level(double relative, int num_levels);

// The imbalance ratio of one of the subject's layers, or of their average, with as many decimals as
// all of them have: 3 where they are below 1, else 2. "no tokens" where there are none.
std::string ratio_text(const MeasuredSubject& subject, const LoadSummary& summary);

}  // namespace eplb

#endif
