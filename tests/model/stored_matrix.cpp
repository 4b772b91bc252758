#include "tests/model/stored_matrix.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "tests/model/number_formats.h"

namespace eplb::test {
namespace {

template <typename T>
void put(std::vector<std::byte>& bytes, T value) {
    bytes.resize(bytes.size() + sizeof(T));
    std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
}

// What all codes of a format stand for: a matrix has far more weights.
std::vector<double> values_of_codes(int num_codes, double (*value)(int)) {
    std::vector<double> values;
    values.reserve(static_cast<std::size_t>(num_codes));
    for (int code = 0; code < num_codes; ++code)
        values.push_back(value(code));
    return values;
}

const std::vector<double> kF16Values = values_of_codes(1 << 16, f16_value);
const std::vector<double> kE4m3Values = values_of_codes(1 << 8, e4m3_value);
const std::vector<double> kE2m1Values = values_of_codes(1 << 4, e2m1_value);

// a code's magnitude is about 2^-6 .. 1 of the largest that is used here
double scale_for(int num_columns) {
    return 1 / std::sqrt(static_cast<double>(num_columns));
}

}  // namespace

StoredMatrix::StoredMatrix(WeightType type_, int num_rows_, int num_columns_, unsigned seed)
    : type(type_), num_rows(num_rows_), num_columns(num_columns_), data(1) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    const double scale = scale_for(num_columns);
    const auto random_code = [&](unsigned num_codes) {
        return static_cast<int>(generator() % num_codes);
    };
    const auto num_weights =
        static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(num_columns);
    values.reserve(num_weights);

    // scales first
    std::vector<double> factors;
    int block_rows = 1;
    int block_columns = num_columns;
    if (type == WeightType::f8_e4m3)
        block_rows = block_columns = WeightMatrix::kScaleBlock;
    else if (type == WeightType::mxfp4)
        block_columns = WeightMatrix::kMxBlock;
    const int blocks_per_row = (num_columns + block_columns - 1) / block_columns;
    if (type == WeightType::f8_e4m3 || type == WeightType::mxfp4) {
        scales.resize(1);
        const int num_blocks = (num_rows + block_rows - 1) / block_rows * blocks_per_row;
        for (int block = 0; block < num_blocks; ++block) {
            if (type == WeightType::f8_e4m3) {
                const auto factor = static_cast<float>(scale * (0.01 + 0.0001 * random_code(100)));
                put(scales, factor);
                factors.push_back(factor);
            } else {
                const int code = 127 + std::ilogb(scale / 4) + random_code(3);
                put(scales, static_cast<std::uint8_t>(code));
                factors.push_back(e8m0_value(code));
            }
        }
    }

    for (int row = 0; row < num_rows; ++row)
        for (int column = 0; column < num_columns; ++column) {
            const auto factor = [&] {
                return factors[row / block_rows * blocks_per_row + column / block_columns];
            };
            switch (type) {
                case WeightType::f32: {
                    const auto value = static_cast<float>(scale * normal(generator));
                    put(data, value);
                    values.push_back(value);
                    break;
                }
                case WeightType::f16: {
                    // of 2^-7 .. 2^-1 times the scale's power of two
                    const int exponent = 15 + std::ilogb(scale) - random_code(6);
                    const int code =
                        random_code(2) << 15 | std::max(exponent, 0) << 10 | random_code(1024);
                    put(data, static_cast<std::uint16_t>(code));
                    values.push_back(kF16Values[code]);
                    break;
                }
                case WeightType::bf16: {
                    const auto value = static_cast<float>(scale * normal(generator));
                    const auto code =
                        static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
                    put(data, code);
                    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16));
                    break;
                }
                case WeightType::f8_e4m3: {
                    const int code = random_code(2) << 7 | random_code(0x7f);  // no NaN
                    put(data, static_cast<std::uint8_t>(code));
                    values.push_back(kE4m3Values[code] * factor());
                    break;
                }
                case WeightType::mxfp4: {
                    const int code = random_code(16);
                    if (column % 2 == 0)
                        put(data, static_cast<std::uint8_t>(code));
                    else
                        data.back() |= static_cast<std::byte>(code << 4);
                    values.push_back(kE2m1Values[code] * factor());
                    break;
                }
            }
        }
}

WeightMatrix StoredMatrix::view() const {
    return {.type = type,
            .num_rows = num_rows,
            .num_columns = num_columns,
            .data = data.data() + 1,
            .scales = scales.empty() ? nullptr : scales.data() + 1};
}

}  // namespace eplb::test
