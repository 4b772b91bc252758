#ifndef EPLB_REPORT_VIEWS_HELD_OUT_RANGES_H
#define EPLB_REPORT_VIEWS_HELD_OUT_RANGES_H

#include <optional>
#include <string>

#include "lib/statistics/selection.h"

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

}  // namespace eplb

#endif
