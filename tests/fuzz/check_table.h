#ifndef EPLB_TESTS_FUZZ_CHECK_TABLE_H
#define EPLB_TESTS_FUZZ_CHECK_TABLE_H

#include <algorithm>
#include <cstdlib>

#include "lib/formats/count_table.h"
#include "lib/statistics/selection.h"

namespace eplb::test {

// Ends the program where a reader gave a table that cannot be; numbers the layers of a good one.
inline void check_table(const CountTable& table) {
    const std::int64_t sizes[] = {table.num_iterations, table.num_rows, table.num_sources,
                                  table.num_experts};
    std::int64_t num_counts = 1;
    for (const std::int64_t size : sizes) {
        if (size < 1)
            std::abort();
        num_counts *= size;
    }
    if (table.counts.size() != static_cast<std::size_t>(num_counts))
        std::abort();
    if (std::any_of(table.counts.begin(), table.counts.end(),
                    [](std::int64_t count) { return count < 0 || count > kMaxCount; }))
        std::abort();
    LayerOptions options;
    if (table.layer_rows == LayerRows::moe_layers || table.layer_rows == LayerRows::unstated)
        options.first_moe_layer = 0;
    const ExpertStatistics statistics = number_layers(table, options, "input");
    if (statistics.counts != table.counts ||
        !std::is_sorted(statistics.layers.begin(), statistics.layers.end()))
        std::abort();
}

}  // namespace eplb::test

#endif
