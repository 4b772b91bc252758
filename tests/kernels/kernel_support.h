#ifndef EPLB_TESTS_KERNELS_KERNEL_SUPPORT_H
#define EPLB_TESTS_KERNELS_KERNEL_SUPPORT_H

#include <cstddef>
#include <random>
#include <vector>

namespace eplb::test {

inline std::vector<float> random_values(std::size_t size, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(size);
    for (float& value : values)
        value = normal(generator);
    return values;
}

// rows [first, first + count) of a matrix of rows of `size` values
template <typename T>
std::vector<T> rows_of(const std::vector<T>& values, int first, int count, int size) {
    const auto begin = values.begin() + std::ptrdiff_t{first} * size;
    return {begin, begin + std::ptrdiff_t{count} * size};
}

}  // namespace eplb::test

#endif
