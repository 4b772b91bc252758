#ifndef EPLB_BASE_GRID_H
#define EPLB_BASE_GRID_H

#include <array>
#include <cassert>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace eplb {

// A view of a counted array of N dimensions, row-major, as [iteration][layer][source][expert] is:
// indices are plain ints, and products of sizes are made here, in std::size_t. Owns nothing.
template <typename T, std::size_t N>
class Grid {
    static_assert(N >= 2);

  public:
    Grid() = default;
    // values holds as many as the product of the sizes, each 0 or more.
    Grid(std::span<T> values, const std::array<int, N>& sizes) : values_(values), sizes_(sizes) {
        assert(values.size() == num_values(sizes));
    }
    Grid(std::vector<std::remove_const_t<T>>& values, const std::array<int, N>& sizes)
        : Grid(std::span<T>(values), sizes) {}
    Grid(const std::vector<std::remove_const_t<T>>& values,
         const std::array<int, N>& sizes) requires std::is_const_v<T>
        : Grid(std::span<T>(values), sizes) {}

    int size(std::size_t dimension) const { return sizes_[dimension]; }
    std::span<T> values() const { return values_; }

    // One value: an index for each dimension.
    template <typename... Index>
    requires(sizeof...(Index) == N) T& operator()(Index... index) const {
        return values_[offset({static_cast<int>(index)...})];
    }

    // What lies below the first indices, in one piece: row(i, j) of four dimensions is
    // [size(2) * size(3)] values.
    template <typename... Index>
    requires(sizeof...(Index) >= 1 && sizeof...(Index) < N) std::span<T> row(Index... index)
    const {
        std::array<int, N> first = {static_cast<int>(index)...};
        std::size_t length = 1;
        for (std::size_t d = sizeof...(Index); d < N; ++d)
            length *= static_cast<std::size_t>(sizes_[d]);
        return values_.subspan(offset(first), length);
    }

    static std::size_t num_values(const std::array<int, N>& sizes) {
        std::size_t product = 1;
        for (const int size : sizes)
            product *= static_cast<std::size_t>(size);
        return product;
    }

  private:
    std::size_t offset(const std::array<int, N>& index) const {
        std::size_t at = 0;
        for (std::size_t d = 0; d < N; ++d) {
            assert(index[d] >= 0 && (index[d] < sizes_[d] || index[d] == 0));
            at = at * static_cast<std::size_t>(sizes_[d]) + static_cast<std::size_t>(index[d]);
        }
        return at;
    }

    std::span<T> values_;
    std::array<int, N> sizes_ = {};
};

}  // namespace eplb

#endif
