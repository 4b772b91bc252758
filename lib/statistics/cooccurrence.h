#ifndef EPLB_STATISTICS_COOCCURRENCE_H
#define EPLB_STATISTICS_COOCCURRENCE_H

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/grid.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

namespace eplb {

// How often two experts serve the same token, exact, per layer: experts that often do so on one
// rank save sending the token twice.
//
// Entry [a][b] with a != b counts the tokens that were routed to both a and b, so that the matrix
// is symmetric; entry [a][a] counts those routed to a, as ExpertStatistics does. A token with k
// experts adds k to the diagonal and k * (k - 1) beside it.
struct ExpertCooccurrence {
    int num_experts = 0;  // number of slots where ids == IdKind::slot
    IdKind ids = IdKind::unstated;
    std::vector<int> layers;               // ids, ascending, no layer twice
    std::vector<std::int64_t> num_tokens;  // [layers], those with at least one expert
    std::vector<std::int64_t> counts;      // [layers][num_experts][num_experts]

    int num_layers() const { return static_cast<int>(layers.size()); }

    // Gives num_tokens and counts their sizes, all zero, from the members above.
    void allocate();

    // [num_experts][num_experts]. layer is a position from 0, not an id.
    std::span<std::int64_t> matrix(int layer) {
        return Grid<std::int64_t, 3>(counts, sizes()).row(layer);
    }
    std::span<const std::int64_t> matrix(int layer) const {
        return Grid<const std::int64_t, 3>(counts, sizes()).row(layer);
    }
    // Of counts.
    std::array<int, 3> sizes() const { return {num_layers(), num_experts, num_experts}; }

    bool operator==(const ExpertCooccurrence&) const = default;
};

// Counts the pairs of every token, summed over source ranks and over the iterations asked for (all
// of them where none are). num_experts is that of the statistics beside the ids. The ids of a token
// differ, as every router's do; an unrouted one (-1) is in no pair.
//
// Error: iterations that are not there, an id of num_experts or above.
ExpertCooccurrence count_cooccurrence(const RoutedIds& routed,
                                      int num_experts,
                                      const std::optional<IterationRange>& iterations = {});

}  // namespace eplb

#endif
