#include "lib/placement/plan/assignment.h"

#include <limits>

#include "lib/base/grid.h"

namespace eplb {
namespace {

constexpr std::int64_t kInfinite = std::numeric_limits<std::int64_t>::max();

// Rows and columns are counted from 1; column 0 stands for "not matched yet". The potentials keep
// cost - row potential - column potential at 0 for matched pairs and never below it for others.
class HungarianMethod {
  public:
    HungarianMethod(std::span<const std::int64_t> cost, int size)
        : cost_(cost, {size, size}),
          size_(size),
          row_potential_(size_ + 1),
          column_potential_(size_ + 1),
          row_of_column_(size_ + 1) {}

    std::vector<int> solve() {
        for (int row = 1; row <= size_; ++row)
            add_row(row);
        std::vector<int> column_of_row(size_);
        for (int column = 1; column <= size_; ++column)
            column_of_row[row_of_column_[column] - 1] = column - 1;
        return column_of_row;
    }

  private:
    // What the pair costs; a row at its own column is better by less than one unit in all.
    std::int64_t cost(int row, int column) const {
        return cost_(row - 1, column - 1) * (size_ + 1) - (row == column ? 1 : 0);
    }

    // Dijkstra's search from the row to the nearest free column, then the matches along the way
    // are shifted by one.
    void add_row(int row) {
        row_of_column_[0] = row;
        std::vector<std::int64_t> distance(size_ + 1, kInfinite);
        std::vector<int> before(size_ + 1);
        std::vector<bool> is_done(size_ + 1);
        int column = 0;
        while (row_of_column_[column] != 0) {
            is_done[column] = true;
            const int from = row_of_column_[column];
            std::int64_t step = kInfinite;
            int nearest = 0;
            for (int other = 1; other <= size_; ++other) {
                if (is_done[other])
                    continue;
                const std::int64_t reduced =
                    cost(from, other) - row_potential_[from] - column_potential_[other];
                if (reduced < distance[other]) {
                    distance[other] = reduced;
                    before[other] = column;
                }
                if (distance[other] < step) {
                    step = distance[other];
                    nearest = other;
                }
            }
            for (int other = 0; other <= size_; ++other) {
                if (is_done[other]) {
                    row_potential_[row_of_column_[other]] += step;
                    column_potential_[other] -= step;
                } else if (distance[other] != kInfinite) {
                    distance[other] -= step;
                }
            }
            column = nearest;
        }
        while (column != 0) {
            row_of_column_[column] = row_of_column_[before[column]];
            column = before[column];
        }
    }

    Grid<const std::int64_t, 2> cost_;
    int size_;
    std::vector<std::int64_t> row_potential_;
    std::vector<std::int64_t> column_potential_;
    std::vector<int> row_of_column_;  // 0: free
};

}  // namespace

Assignment cheapest_assignment(std::span<const std::int64_t> cost, int size) {
    Assignment assignment;
    assignment.column_of_row = HungarianMethod(cost, size).solve();
    const Grid<const std::int64_t, 2> pairs(cost, {size, size});
    for (int row = 0; row < size; ++row)
        assignment.cost += pairs(row, assignment.column_of_row[row]);
    return assignment;
}

}  // namespace eplb
