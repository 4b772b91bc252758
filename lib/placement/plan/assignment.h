#ifndef EPLB_PLACEMENT_PLAN_ASSIGNMENT_H
#define EPLB_PLACEMENT_PLAN_ASSIGNMENT_H

#include <cstdint>
#include <span>
#include <vector>

namespace eplb {

// More than any sum of the costs of pairs that may be matched.
constexpr std::int64_t kForbiddenPair = std::int64_t{1} << 40;

struct Assignment {
    std::vector<int> column_of_row;  // [size], each column once
    std::int64_t cost = 0;           // kForbiddenPair or more: no assignment avoids those pairs
};

// The assignment of rows to columns with the least sum of costs: the Hungarian method by shortest
// augmenting paths, O(size^3). cost: [size][size], each in [0, kForbiddenPair], size below 1000.
// Deterministic; of equally cheap assignments it gives one of those that leave most rows at their
// own column.
Assignment cheapest_assignment(std::span<const std::int64_t> cost, int size);

}  // namespace eplb

#endif
