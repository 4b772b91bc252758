#include "lib/statistics/selection.h"

#include "lib/base/error.h"

namespace eplb {

IterationRange select_iterations(const StatisticsSelection& selection,
                                 const IterationRange& recorded,
                                 const std::string& name) {
    const IterationRange range = {selection.iter_start.value_or(recorded.start),
                                  selection.iter_stop.value_or(recorded.stop)};
    if (range.start >= recorded.start && range.start < range.stop && range.stop <= recorded.stop)
        return range;
    const auto text = [](const IterationRange& iterations) {
        return std::to_string(iterations.start) + "-" + std::to_string(iterations.stop);
    };
    throw Error(name + ": holds iterations " + text(recorded) + " (half open), not " + text(range) +
                "; choose iter_start and iter_stop from these");
}

}  // namespace eplb
