#ifndef EPLB_TESTS_FUZZ_CHECK_TABLE_H
#define EPLB_TESTS_FUZZ_CHECK_TABLE_H

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_table.h"
#include "lib/statistics/selection.h"

namespace eplb::test {

inline void check_counts(const CountTable& table) {
    const std::int64_t sizes[] = {table.num_iterations, table.num_layers(), table.num_sources,
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
}

inline std::vector<int> rows_with_tokens(const CountTable& table) {
    std::vector<int> rows;
    for (int row = 0; row < table.num_layers(); ++row) {
        std::int64_t largest = 0;
        for (int iteration = 0; iteration < table.num_iterations; ++iteration)
            for (int source = 0; source < table.num_sources; ++source) {
                const auto counts = table.row(iteration, row, source);
                largest = std::max(largest, *std::max_element(counts.begin(), counts.end()));
            }
        if (largest > 0)
            rows.push_back(row);
    }
    return rows;
}

// Names the layers as a user would who knows the model. Rows without tokens are dense layers where
// they can be.
inline void check_layers(const CountTable& table) {
    LayerOptions options;
    std::vector<std::int64_t> expected = table.counts;
    if (table.layer_rows == LayerRows::decoder_layers) {
        options.moe_layers = rows_with_tokens(table);
        if (options.moe_layers.empty())
            return;
        expected.clear();
        for (int iteration = 0; iteration < table.num_iterations; ++iteration)
            for (const int row : options.moe_layers)
                for (int source = 0; source < table.num_sources; ++source) {
                    const auto counts = table.row(iteration, row, source);
                    expected.insert(expected.end(), counts.begin(), counts.end());
                }
    } else if (table.layer_rows != LayerRows::by_id) {
        options.first_moe_layer = 0;
    }
    const ExpertStatistics statistics = number_layers(table, options, "input");
    if (statistics.counts != expected ||
        !std::is_sorted(statistics.layers.begin(), statistics.layers.end()))
        std::abort();
}

// Reads a table. Ends the program where the reader gives one that cannot be, or one whose layers
// cannot be numbered; bad input is to end in an Error of the reader.
template <typename Read>
void check_table(Read read) {
    CountTable table;
    try {
        table = read();
    } catch (const Error&) {
        return;
    }
    check_counts(table);
    check_layers(table);
}

}  // namespace eplb::test

#endif
