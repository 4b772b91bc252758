#ifndef EPLB_REPORT_VIEWS_TIME_CHANGE_H
#define EPLB_REPORT_VIEWS_TIME_CHANGE_H

#include <optional>
#include <span>
#include <string>

#include "lib/report/timed_subject.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/comparison_figures.h"

// From one subject's time to another's, and what reports say where nothing is timed.
namespace eplb {

// Per iteration the slowest rank's time in some layers that the subject has, in the order of
// layer_ids.
IterationSeries time_series(const TimedSubject& timed, std::span<const int> layer_ids);

// All of some layers one after another, mean over the iterations with tokens.
struct TimeChange {
    double before_us = 0;
    double after_us = 0;
    // 95 %, of after - before and of before / after; nothing where there are too few iterations
    std::optional<Interval> difference;
    std::optional<Interval> speedup;
};

// layer_ids: layers of both, at least one.
TimeChange time_change(const TimedSubject& before,
                       const TimedSubject& after,
                       std::span<const int> layer_ids,
                       Pairing pairing);

// "on h200 the 58 MoE layers take 6.55 ms -> 3.20 ms an iteration (95 % interval of the difference:
// …)", and what the two differ in besides.
std::string time_change_text(const TimedSubject& before,
                             const TimedSubject& after,
                             int num_layers,
                             const TimeChange& change);

// What tokens alone leave open, a sentence.
std::string tokens_alone_note();

}  // namespace eplb

#endif
