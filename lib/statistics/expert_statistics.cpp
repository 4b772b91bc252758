#include "lib/statistics/expert_statistics.h"

#include <algorithm>
#include <functional>

#include "lib/base/large_pages.h"

namespace eplb {

void ExpertStatistics::allocate() {
    const std::size_t size =
        Grid<std::int64_t, 4>::num_values({num_iterations, num_layers(), num_sources, num_experts});
    counts = {};
    counts.reserve(size);
    use_large_pages(std::as_bytes(std::span(counts.data(), size)));
    counts.resize(size);
}

std::optional<int> ExpertStatistics::find_layer(int layer_id) const {
    const auto found = std::lower_bound(layers.begin(), layers.end(), layer_id);
    if (found == layers.end() || *found != layer_id)
        return std::nullopt;
    return static_cast<int>(found - layers.begin());
}

std::vector<std::int64_t> counts_per_iteration(const ExpertStatistics& statistics, int layer) {
    const std::array<int, 2> sizes = {statistics.num_iterations, statistics.num_experts};
    std::vector<std::int64_t> sums(Grid<std::int64_t, 2>::num_values(sizes));
    const Grid<std::int64_t, 2> grid(sums, sizes);
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        for (int source = 0; source < statistics.num_sources; ++source) {
            const std::span<const std::int64_t> row = statistics.row(iteration, layer, source);
            const std::span<std::int64_t> sum = grid.row(iteration);
            std::transform(row.begin(), row.end(), sum.begin(), sum.begin(), std::plus<>());
        }
    return sums;
}

std::vector<std::int64_t> total_counts(const ExpertStatistics& statistics, int layer) {
    std::vector<std::int64_t> sums(statistics.num_experts);
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        for (int source = 0; source < statistics.num_sources; ++source) {
            const std::span<const std::int64_t> row = statistics.row(iteration, layer, source);
            std::transform(row.begin(), row.end(), sums.begin(), sums.begin(), std::plus<>());
        }
    return sums;
}

}  // namespace eplb
