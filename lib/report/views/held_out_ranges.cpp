#include "lib/report/views/held_out_ranges.h"

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

// The larger stretch before or after `taken`.
IterationRange rest_of(const IterationRange& recorded, const IterationRange& taken) {
    const IterationRange before = {recorded.start, taken.start};
    const IterationRange after = {taken.stop, recorded.stop};
    const IterationRange rest =
        before.stop - before.start > after.stop - after.start ? before : after;
    if (rest.start == rest.stop)
        throw Error("iterations " + range_text(taken) +
                    ": are all that was recorded, which leaves none to fit to or to test on; "
                    "choose fewer, or give a second recording");
    return rest;
}

}  // namespace

void check_range(const IterationRange& range,
                 const IterationRange& recorded,
                 const std::string& name) {
    if (range.start < recorded.start || range.stop > recorded.stop)
        throw Error(name + ": holds iterations " + range_text(recorded) + " (half open), not " +
                    range_text(range) + "; choose " + setting("fit") + " and " + setting("test") +
                    " from these");
}

bool overlap(const IterationRange& a, const IterationRange& b) {
    return a.start < b.stop && b.start < a.stop;
}

HeldOutRanges split_iterations(const IterationRange& recorded,
                               const std::optional<IterationRange>& fit,
                               const std::optional<IterationRange>& test) {
    for (const std::optional<IterationRange>& range : {fit, test})
        if (range)
            check_range(*range, recorded, "statistics");
    if (fit && test)
        return {*fit, *test};
    if (fit)
        return {*fit, rest_of(recorded, *fit)};
    if (test)
        return {rest_of(recorded, *test), *test};
    if (recorded.stop - recorded.start < 2)
        throw Error(
            "iterations " + range_text(recorded) +
            ": a single one cannot be fitted to and tested on; record more, or give a second "
            "recording");
    const std::int64_t middle = recorded.start + (recorded.stop - recorded.start) / 2;
    return {{recorded.start, middle}, {middle, recorded.stop}};
}

}  // namespace eplb
