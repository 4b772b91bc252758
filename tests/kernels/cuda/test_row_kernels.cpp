#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/cuda/launch.h"
#include "tests/kernels/cuda/launch_support.h"
#include "tests/kernels/kernel_support.h"
#include "tests/model/stored_matrix.h"
#include "tests/test_support.h"

namespace eplb::test_row_kernels {

namespace {

using namespace eplb::test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double of_bf16(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

// The nearest of the value's two neighbours among bf16 numbers, the even one of two as near. Where
// the upper one would be infinite, its place is where the next finite number would be.
std::uint16_t nearest_bf16(float value) {
    if (std::isinf(value))
        return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
    const auto toward_zero = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
    const auto away = static_cast<std::uint16_t>(toward_zero + 1);
    const double lower = std::fabs(of_bf16(toward_zero));
    const double upper = (away & 0x7fff) == 0x7f80 ? 0x1p128 : std::fabs(of_bf16(away));
    const double magnitude = std::fabs(double{value});
    if (magnitude - lower != upper - magnitude)
        return magnitude - lower < upper - magnitude ? toward_zero : away;
    return toward_zero % 2 == 0 ? toward_zero : away;
}

std::size_t size_of(std::int64_t rows, std::int64_t columns) {
    return static_cast<std::size_t>(rows * columns);
}

// Bytes to device memory, at an odd address.
struct DeviceMatrix {
    explicit DeviceMatrix(const StoredMatrix& stored)
        : data(stored.data), scales(stored.scales), view(stored.view()) {
        view.data = data.data() + (view.data - stored.data.data());
        if (view.scales != nullptr)
            view.scales = scales.data() + (view.scales - stored.scales.data());
    }
    DeviceArray<std::byte> data;
    DeviceArray<std::byte> scales;
    WeightMatrix view;
};

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

}  // namespace

TEST_CASE("convert_to_bf16: to nearest, ties to even, of all kinds of numbers") {
    std::vector<float> values;
    for (const float value :
         {0.0F, 1.0F, 0x1.01p0F, 0x1.02p0F, 0x1.03p0F, 0x1.00fffep0F, 0x1.010002p0F, 1e-40F, 1e-45F,
          0x1.fep127F, 0x1.fefffep127F, 0x1.ffp127F, 3.4e38F, 1e30F, kInfinity, 0x1p-126F})
        for (const float sign : {1.0F, -1.0F})
            values.push_back(sign * value);
    for (const float value : random_values(1000, 1))
        values.push_back(value);
    DeviceArray<float> from(values);
    DeviceArray<std::uint16_t> to(values.size());
    cuda::convert_to_bf16(nullptr, 1, static_cast<int>(values.size()), 0, from.data(), to.data(),
                          nullptr);
    const std::vector<std::uint16_t> found = to.get();
    for (std::size_t i = 0; i < values.size(); ++i) {
        CAPTURE(values[i]);
        REQUIRE(found[i] == nearest_bf16(values[i]));
    }
    // NaNs, also those whose upper half is no NaN
    const std::vector<float> nans = {std::bit_cast<float>(0x7f800001U),
                                     std::bit_cast<float>(0xffffffffU),
                                     std::bit_cast<float>(0x7fc00000U)};
    DeviceArray<float> from_nans(nans);
    DeviceArray<std::uint16_t> to_nans(nans.size());
    cuda::convert_to_bf16(nullptr, 3, 1, 1, from_nans.data(), to_nans.data(), nullptr);
    for (const std::uint16_t bits : to_nans.get())
        CHECK(std::isnan(of_bf16(bits)));
}

TEST_CASE("convert_to_bf16 and gather_rows take rows from anywhere") {
    const std::vector<std::int32_t> sources = {3, 0, 0, 6, 2};
    DeviceArray<std::int32_t> device_sources(sources);
    for (const int size : {1, 31, 257, 600}) {
        const int stride = size + 3;
        const std::vector<float> values = random_values(size_of(7, stride), 2);
        DeviceArray<float> from(values);
        DeviceArray<std::uint16_t> to(size_of(5, size));
        cuda::convert_to_bf16(device_sources.data(), 5, size, stride, from.data(), to.data(),
                              nullptr);
        DeviceArray<float> gathered(size_of(5, stride));
        cuda::gather_rows(device_sources.data(), 5, static_cast<std::size_t>(stride) * 4,
                          from.data(), gathered.data(), nullptr);
        const std::vector<std::uint16_t> converted = to.get();
        const std::vector<float> rows = gathered.get();
        for (std::size_t row = 0; row < 5; ++row)
            for (int i = 0; i < stride; ++i) {
                const float value =
                    values[size_of(sources[row], stride) + static_cast<std::size_t>(i)];
                REQUIRE(rows[row * stride + i] == value);
                if (i < size)
                    REQUIRE(converted[row * size + i] == nearest_bf16(value));
            }
    }
}

TEST_CASE("decode and embed: what the formats say, aligned or not") {
    for (const WeightType type : kWeightTypes)
        for (const int num_columns : {32, 288, 13, 300}) {
            if (type == WeightType::mxfp4 && num_columns % 32 != 0)
                continue;
            const StoredMatrix stored(type, 150, num_columns, 7);
            CAPTURE(static_cast<int>(type), num_columns);
            DeviceMatrix matrix(stored);
            const std::vector<std::int32_t> ids = {149, 0, 17, 128, 127, 17};
            DeviceArray<std::int32_t> device_ids(ids);
            DeviceArray<float> embedded(size_of(6, num_columns));
            cuda::embed(matrix.view, device_ids.data(), 6, embedded.data(), nullptr);
            // every other row, from the second on
            WeightMatrix half = matrix.view;
            half.num_rows = 75;
            half.first_row = 1;
            half.row_step = 2;
            DeviceArray<float> decoded(size_of(70, num_columns));
            DeviceArray<std::uint16_t> rounded(size_of(70, num_columns));
            cuda::decode(half, 5, 70, decoded.data(), nullptr);
            cuda::decode(half, 5, 70, rounded.data(), nullptr);
            const std::vector<float> of_ids = embedded.get();
            const std::vector<float> values = decoded.get();
            const std::vector<std::uint16_t> bits = rounded.get();
            for (int column = 0; column < num_columns; ++column) {
                for (int i = 0; i < 6; ++i)
                    REQUIRE(of_ids[size_of(i, num_columns) + column] ==
                            static_cast<float>(stored.value(ids[i], column)));
                for (int row = 0; row < 70; ++row) {
                    const std::size_t place =
                        size_of(row, num_columns) + static_cast<std::size_t>(column);
                    const auto value = static_cast<float>(stored.value(1 + 2 * (row + 5), column));
                    REQUIRE(values[place] == value);
                    REQUIRE(bits[place] == nearest_bf16(value));
                }
            }
        }
}

TEST_CASE("decode: fp8 with factors in bf16") {
    const StoredMatrix stored(WeightType::f8_e4m3, 150, 300, 7);
    // the upper halves of the factors, which change the values by factor_bf16 / factor
    std::vector<std::byte> halves(1);
    std::vector<double> change;
    for (std::size_t i = 1; i < stored.scales.size(); i += 4) {
        halves.insert(halves.end(), {stored.scales[i + 2], stored.scales[i + 3]});
        float factor;
        std::uint16_t upper;
        std::memcpy(&factor, &stored.scales[i], 4);
        std::memcpy(&upper, &stored.scales[i + 2], 2);
        change.push_back(of_bf16(upper) / factor);
    }
    DeviceMatrix matrix(stored);
    DeviceArray<std::byte> device_halves(halves);
    matrix.view.scales = device_halves.data() + 1;
    matrix.view.scale_type = WeightType::bf16;
    DeviceArray<float> decoded(150 * 300);
    cuda::decode(matrix.view, 0, 150, decoded.data(), nullptr);
    const std::vector<float> values = decoded.get();
    for (int row = 0; row < 150; ++row)
        for (int column = 0; column < 300; ++column) {
            const auto block = static_cast<std::size_t>(row / 128 * 3 + column / 128);
            REQUIRE(values[size_of(row, 300) + column] ==
                    Approx(stored.value(row, column) * change[block]).epsilon(1e-7));
        }
}

TEST_CASE("decode: weights at aligned addresses") {
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix stored(type, 9, 64, 3);
        DeviceArray<std::byte> data(
            std::vector<std::byte>(stored.data.begin() + 1, stored.data.end()));
        DeviceMatrix matrix(stored);
        matrix.view.data = data.data();
        DeviceArray<float> decoded(9 * 64);
        cuda::decode(matrix.view, 0, 9, decoded.data(), nullptr);
        const std::vector<float> values = decoded.get();
        for (int row = 0; row < 9; ++row)
            for (int column = 0; column < 64; ++column)
                REQUIRE(values[size_of(row, 64) + column] ==
                        static_cast<float>(stored.value(row, column)));
    }
}

TEST_CASE("activate: both activations, with and without biases") {
    for (const int width : {1, 33, 300})
        for (const Activation activation : {Activation::swiglu, Activation::clamped_swiglu})
            for (const bool with_biases : {false, true}) {
                CAPTURE(width, static_cast<int>(activation), with_biases);
                constexpr std::int64_t kRows = 7;
                const int stride = 2 * width + 1;  // gate and up side by side
                std::vector<float> input = random_values(size_of(kRows, stride), 5);
                for (std::size_t i = 0; i < input.size(); i += 11)
                    input[i] *= 1000;
                const std::vector<float> gate_bias = random_values(with_biases ? width : 0, 6);
                const std::vector<float> up_bias = random_values(with_biases ? width : 0, 7);
                DeviceArray<float> device_input(input);
                DeviceArray<float> device_gate_bias(gate_bias);
                DeviceArray<float> device_up_bias(up_bias);
                DeviceArray<float> output(size_of(kRows, width));
                DeviceArray<std::uint16_t> rounded(size_of(kRows, width));
                const cuda::ActivationArguments arguments = {
                    activation,           1.5F, width, stride, device_gate_bias.data(),
                    device_up_bias.data()};
                cuda::activate(arguments, kRows, device_input.data(), device_input.data() + width,
                               output.data(), nullptr);
                cuda::activate(arguments, kRows, device_input.data(), device_input.data() + width,
                               rounded.data(), nullptr);
                DeviceArray<float> biased(input);
                cuda::add_bias(device_up_bias.data(), kRows, width, stride, biased.data(), nullptr);
                const std::vector<float> found = output.get();
                const std::vector<std::uint16_t> bits = rounded.get();
                const std::vector<float> sums = biased.get();
                for (std::int64_t row = 0; row < kRows; ++row)
                    for (int i = 0; i < width; ++i) {
                        const float first = input[row * stride + i];
                        REQUIRE(sums[row * stride + i] ==
                                (with_biases ? first + up_bias[i] : first));
                        double g = first;
                        double u = input[row * stride + width + i];
                        if (with_biases) {
                            g += gate_bias[i];
                            u += up_bias[i];
                        }
                        double expected = g * sigmoid(g) * u;
                        if (activation == Activation::clamped_swiglu) {
                            g = std::min(g, 1.5);
                            u = std::min(std::max(u, -1.5), 1.5);
                            expected = (u + 1) * g * sigmoid(1.702 * g);
                        }
                        const float value = found[row * width + i];
                        REQUIRE(value == Approx(expected).epsilon(1e-5).margin(1e-5));
                        REQUIRE(bits[row * width + i] == nearest_bf16(value));
                    }
            }
}

TEST_CASE("rms_norm: by the definition, any size, in place and with gaps that stay") {
    for (const int size : {1, 3, 255, 256, 257, 2051}) {
        const std::int64_t stride = size + 5;
        const std::vector<float> input = random_values(size_of(20, stride), 1);
        const std::vector<float> weight = random_values(size_of(1, size), 2);
        DeviceArray<float> device_input(input);
        DeviceArray<float> device_weight(weight);
        DeviceArray<float> output(size_of(20, size));
        cuda::rms_norm({device_weight.data(), size, 1e-3F, stride, size}, 20, device_input.data(),
                       output.data(), nullptr);
        cuda::rms_norm({device_weight.data(), size, 1e-3F, stride, stride}, 20, device_input.data(),
                       device_input.data(), nullptr);
        const std::vector<float> found = output.get();
        const std::vector<float> in_place = device_input.get();
        for (std::int64_t row = 0; row < 20; ++row) {
            double square = 0;
            for (int i = 0; i < size; ++i) {
                const double x = input[size_of(row, stride) + i];
                square += x * x;
            }
            const double factor = 1 / std::sqrt(square / size + 1e-3);
            for (int i = 0; i < stride; ++i) {
                const auto at = static_cast<std::size_t>(i);
                const float x = input[size_of(row, stride) + at];
                const float y = in_place[size_of(row, stride) + at];
                if (i >= size) {
                    REQUIRE(y == x);
                    continue;
                }
                REQUIRE(y == Approx(x * factor * weight[at]).epsilon(1e-6));
                REQUIRE(found[size_of(row, size) + at] == y);
            }
        }
    }
}

TEST_CASE("find_non_finite: one value anywhere") {
    for (const std::int64_t size : {1, 255, 256, 257, 5000, kSanitized ? 300000 : 1100000}) {
        std::vector<float> values(size, -3e38F);
        const auto found = [&] {
            DeviceArray<float> device(values);
            DeviceArray<std::int32_t> count(std::vector<std::int32_t>{0});
            cuda::find_non_finite(device.data(), size, count.data(), nullptr);
            return count.get()[0] > 0;
        };
        CHECK_FALSE(found());
        for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
            for (const std::size_t place : {std::size_t{0}, values.size() / 2, values.size() - 1}) {
                const float kept = values[place];
                values[place] = bad;
                CHECK(found());
                values[place] = kept;
                if (size > 100000)
                    break;
            }
        }
    }
}

TEST_CASE("launches of nothing do nothing") {
    cuda::copy_rows({0, 5, 5, 5}, nullptr, nullptr, nullptr);
    cuda::gather_rows(nullptr, 0, 8, nullptr, nullptr, nullptr);
    cuda::find_non_finite(nullptr, 0, nullptr, nullptr);
    cuda::clamp(1, 0, nullptr, nullptr);
    cuda::convert_to_bf16(nullptr, 0, 8, 8, nullptr, nullptr, nullptr);
    cuda::decode({.num_columns = 8}, 0, 0, static_cast<float*>(nullptr), nullptr);
    cuda::embed({.num_columns = 8}, nullptr, 0, nullptr, nullptr);
    cuda::rms_norm({}, 0, nullptr, nullptr, nullptr);
    cuda::rotate({}, nullptr, 0, nullptr, nullptr);
    cuda::add_bias(nullptr, 3, 8, 8, nullptr, nullptr);
    cuda::activate({}, 0, nullptr, nullptr, static_cast<float*>(nullptr), nullptr);
    cuda::combine(0, {}, nullptr, nullptr);
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

}  // namespace eplb::test_row_kernels
