#include "lib/statistics/expert_statistics.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <utility>

#include "lib/base/large_pages.h"

namespace eplb {

void ExpertStatistics::allocate() {
    const std::size_t size = num_iterations * layers.size() * num_sources * num_experts;
    counts = {};
    counts.reserve(size);
    use_large_pages(std::as_bytes(std::span(counts.data(), size)));
    counts.resize(size);
}

std::span<const std::int64_t> ExpertStatistics::row(int iteration, int layer, int source) const {
    assert(iteration >= 0 && iteration < num_iterations);
    assert(layer >= 0 && layer < num_layers());
    assert(source >= 0 && source < num_sources);
    const std::size_t index =
        (static_cast<std::size_t>(iteration) * layers.size() + static_cast<std::size_t>(layer)) *
            static_cast<std::size_t>(num_sources) +
        static_cast<std::size_t>(source);
    const auto size = static_cast<std::size_t>(num_experts);
    return std::span(counts).subspan(index * size, size);
}

std::span<std::int64_t> ExpertStatistics::row(int iteration, int layer, int source) {
    const std::span<const std::int64_t> found = std::as_const(*this).row(iteration, layer, source);
    return {counts.data() + (found.data() - counts.data()), found.size()};
}

std::optional<int> ExpertStatistics::find_layer(int layer_id) const {
    const auto found = std::lower_bound(layers.begin(), layers.end(), layer_id);
    if (found == layers.end() || *found != layer_id)
        return std::nullopt;
    return static_cast<int>(found - layers.begin());
}

std::vector<std::int64_t> counts_per_iteration(const ExpertStatistics& statistics, int layer) {
    const auto num_experts = static_cast<std::size_t>(statistics.num_experts);
    std::vector<std::int64_t> sums(static_cast<std::size_t>(statistics.num_iterations) *
                                   num_experts);
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration) {
        std::int64_t* const sum = sums.data() + static_cast<std::size_t>(iteration) * num_experts;
        for (int source = 0; source < statistics.num_sources; ++source) {
            const std::span<const std::int64_t> row = statistics.row(iteration, layer, source);
            std::transform(row.begin(), row.end(), sum, sum, std::plus<>());
        }
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

const std::vector<std::int32_t>& RoutedIds::cell(int iteration, int layer, int source) const {
    return ids[(static_cast<std::size_t>(iteration) * layers.size() +
                static_cast<std::size_t>(layer)) *
                   static_cast<std::size_t>(ep_size) +
               static_cast<std::size_t>(source)];
}

std::vector<std::int32_t>& RoutedIds::cell(int iteration, int layer, int source) {
    return const_cast<std::vector<std::int32_t>&>(
        std::as_const(*this).cell(iteration, layer, source));
}

}  // namespace eplb
