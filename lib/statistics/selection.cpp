#include "lib/statistics/selection.h"

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace eplb {

std::string range_text(const IterationRange& range) {
    return std::to_string(range.start) + "-" + std::to_string(range.stop);
}

IterationRange select_iterations(const StatisticsSelection& selection,
                                 const IterationRange& recorded,
                                 const std::string& name) {
    const IterationRange range = {selection.iter_start.value_or(recorded.start),
                                  selection.iter_stop.value_or(recorded.stop)};
    if (range.start >= recorded.start && range.start < range.stop && range.stop <= recorded.stop)
        return range;
    throw Error(name + ": holds iterations " + range_text(recorded) + " (half open), not " +
                range_text(range) + "; choose iter_start and iter_stop from these");
}

void keep_layers(ExpertStatistics& statistics,
                 const std::vector<int>& layers,
                 const std::string& name) {
    ExpertStatistics kept = statistics;
    kept.layers = layers;
    kept.allocate();
    for (int layer = 0; layer < kept.num_layers(); ++layer) {
        const std::optional<int> found = statistics.find_layer(layers[layer]);
        if (!found)
            throw Error(name + ": does not hold layer " + std::to_string(layers[layer]) +
                        ", but layers " + std::to_string(statistics.layers.front()) + " to " +
                        std::to_string(statistics.layers.back()));
        for (int iteration = 0; iteration < kept.num_iterations; ++iteration)
            for (int source = 0; source < kept.num_sources; ++source)
                std::ranges::copy(statistics.row(iteration, *found, source),
                                  kept.row(iteration, layer, source).begin());
    }
    statistics = std::move(kept);
}

}  // namespace eplb
