#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/device_buffer.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_support.h"
#include "tests/model/stored_matrix.h"

namespace eplb::test_cpu_backend {

using namespace eplb::test;

TEST_CASE("embed gives the rows of the tokens, of every type") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix table(type, 300, 96, 1);
        std::vector<std::int32_t> ids;
        for (int i = 0; i < 150; ++i)
            ids.push_back(i * 77 % 300);
        std::vector<float> output(ids.size() * 96);
        backend.embed(table.view(), ids, output.data());
        for (std::size_t i = 0; i < ids.size(); ++i)
            for (int c = 0; c < 96; ++c)
                REQUIRE(output[i * 96 + c] == static_cast<float>(table.value(ids[i], c)));
    }
}

TEST_CASE("rms_norm normalizes rows, in place and with strides") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const int size : {1, 3, 4, 17, 64, 2051}) {
        constexpr int kRows = 70;
        const int input_stride = size + 5;
        const int output_stride = size + 2;
        const std::vector<float> input =
            random_values(static_cast<std::size_t>(kRows * input_stride), 1);
        const std::vector<float> weight = random_values(static_cast<std::size_t>(size), 2);
        std::vector<float> output(kRows * output_stride, 7.0F);
        backend.rms_norm({weight.data(), size, 1e-3F, input_stride, output_stride}, kRows,
                         input.data(), output.data());
        std::vector<float> in_place = input;
        backend.rms_norm({weight.data(), size, 1e-3F, input_stride, input_stride}, kRows,
                         in_place.data(), in_place.data());
        for (int row = 0; row < kRows; ++row) {
            const float* const x = input.data() + row * input_stride;
            const float* const y = output.data() + row * output_stride;
            const float* const z = in_place.data() + row * input_stride;
            double square = 0;
            for (int i = 0; i < size; ++i)
                square += static_cast<double>(x[i]) * x[i];
            const double factor = 1 / std::sqrt(square / size + 1e-3);
            for (int i = 0; i < size; ++i) {
                REQUIRE(y[i] == Approx(x[i] * factor * weight[i]).epsilon(1e-6).margin(1e-30));
                REQUIRE(z[i] == y[i]);
            }
            // what lies between rows is left alone
            REQUIRE(y[size] == 7.0F);
            REQUIRE(z[size] == x[size]);
        }
    }
}

TEST_CASE("rms_norm of zeros is zero, and of huge values finite") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    const std::vector<float> weight(8, 1.0F);
    std::vector<float> values = {0, 0, 0, 0, 0, 0, 0, 0, 1e18F, 0, 0, 0, 0, 0, 0, -1e18F};
    backend.rms_norm({weight.data(), 8, 1e-6F, 8, 8}, 2, values.data(), values.data());
    for (std::size_t i = 0; i < 8; ++i)
        CHECK(values[i] == 0);
    CHECK(values[8] == Approx(2));
    CHECK(values[15] == Approx(-2));
}

TEST_CASE("clamp cuts on both sides") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    std::vector<float> values = random_values(200001, 1);
    std::vector<float> expected = values;
    for (float& value : expected)
        value = value > 0.5F ? 0.5F : value < -0.5F ? -0.5F : value;
    backend.clamp(0.5F, static_cast<std::int64_t>(values.size()), values.data());
    CHECK(values == expected);
}

TEST_CASE("rotate turns the pairs of the rotary part and leaves the rest alone") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    struct Case {
        bool interleaved;
        int rotary_size;
        int head_stride;
        int offset;
    };
    // whole heads, the front part of heads, the back part (as DeepSeek's queries)
    for (const Case& c : {Case{false, 16, 16, 0},
                          {true, 16, 16, 0},
                          {false, 6, 16, 0},
                          {true, 6, 16, 10},
                          {false, 6, 17, 11},
                          {true, 2, 3, 1}}) {
        constexpr int kHeads = 3;
        const int row_stride = kHeads * c.head_stride + 4;
        std::vector<std::int32_t> positions;
        for (int i = 0; i < 70; ++i)
            positions.push_back(i * i * 31);
        std::vector<float> frequencies;
        for (int pair = 0; pair < c.rotary_size / 2; ++pair)
            frequencies.push_back(std::pow(100.0F, -static_cast<float>(pair) / 8));
        const std::vector<float> before =
            random_values(positions.size() * static_cast<std::size_t>(row_stride), 1);
        std::vector<float> values = before;
        backend.rotate({frequencies.data(), c.rotary_size, 1.25F, c.interleaved, kHeads,
                        c.head_stride, c.offset, row_stride},
                       positions, values.data());
        std::vector<double> expected(before.begin(), before.end());
        for (std::size_t row = 0; row < positions.size(); ++row)
            for (int head = 0; head < kHeads; ++head)
                for (int pair = 0; pair < c.rotary_size / 2; ++pair) {
                    const auto start = row * static_cast<std::size_t>(row_stride) +
                                       static_cast<std::size_t>(head * c.head_stride + c.offset);
                    const int half = c.rotary_size / 2;
                    const auto a =
                        start + static_cast<std::size_t>(c.interleaved ? 2 * pair : pair);
                    const auto b = a + static_cast<std::size_t>(c.interleaved ? 1 : half);
                    // the product is fp32's
                    const float angle = static_cast<float>(positions[row]) * frequencies[pair];
                    const double cosine = 1.25 * std::cos(static_cast<double>(angle));
                    const double sine = 1.25 * std::sin(static_cast<double>(angle));
                    expected[a] = before[a] * cosine - before[b] * sine;
                    expected[b] = before[b] * cosine + before[a] * sine;
                }
        for (std::size_t i = 0; i < values.size(); ++i)
            REQUIRE(values[i] == Approx(expected[i]).epsilon(1e-6).margin(1e-6));
    }
}

TEST_CASE("combine adds weighted rows and the shared output to the tokens") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const std::vector<std::int32_t> rows = {3, 0, 1, 2};
    const std::vector<float> weights = {1, -1, 0.5F, 2};
    const std::vector<float> output = {1, 2, 10, 20, 100, 200, 1000, 2000};
    const std::vector<float> shared = {7, 8, 70, 80};
    std::vector<float> hidden = {1, 1, 0, 0, 5, 5};
    backend.combine(2,
                    {.top_k = 2,
                     .hidden_size = 2,
                     .rows = rows.data(),
                     .weights = weights.data(),
                     .expert_output = output.data(),
                     .shared_output = shared.data(),
                     .shared_gate = nullptr},
                    hidden.data());
    // token 0: 1 * row 3 - 1 * row 0 + shared row 0; token 1: 0.5 * row 1 + 2 * row 2 + shared row
    // 1; what lies behind stays
    CHECK(hidden == std::vector<float>{1 + 1000 - 1 + 7, 1 + 2000 - 2 + 8, 0.5F * 10 + 2 * 100 + 70,
                                       0.5F * 20 + 2 * 200 + 80, 5, 5});
}

TEST_CASE("combine weighs the shared output with its gate, and goes without routed experts") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const std::vector<float> shared = {10, 20, 8, -4};
    const std::vector<float> gate = {std::log(3.0F), 0};  // sigmoids 3/4 and 1/2
    std::vector<float> hidden = {1, 1, 100, 100};
    Backend::CombineArguments arguments = {.top_k = 0,
                                           .hidden_size = 2,
                                           .rows = nullptr,
                                           .weights = nullptr,
                                           .expert_output = nullptr,
                                           .shared_output = shared.data(),
                                           .shared_gate = gate.data()};
    backend.combine(2, arguments, hidden.data());
    CHECK(hidden[0] == Approx(8.5));
    CHECK(hidden[1] == Approx(16));
    CHECK(hidden[2] == Approx(104));
    CHECK(hidden[3] == Approx(98));

    arguments.shared_gate = nullptr;
    hidden = {0, 0, 0, 0};
    backend.combine(2, arguments, hidden.data());
    CHECK(hidden == shared);

    arguments.shared_output = nullptr;
    backend.combine(2, arguments, hidden.data());
    CHECK(hidden == shared);
}

TEST_CASE("combine adds to many tokens in the order of their experts") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    constexpr int kTokens = 200;
    constexpr int kSize = 37;
    constexpr int kTopK = 3;
    std::vector<std::int32_t> rows;
    for (int i = 0; i < kTokens * kTopK; ++i)
        rows.push_back(i * 77 % (kTokens * kTopK));
    const std::vector<float> weights = random_values(kTokens * kTopK, 1);
    const std::vector<float> output = random_values(kTokens * kTopK * kSize, 2);
    const std::vector<float> before = random_values(kTokens * kSize, 3);
    std::vector<float> hidden = before;
    const Backend::CombineArguments arguments = {.top_k = kTopK,
                                                 .hidden_size = kSize,
                                                 .rows = rows.data(),
                                                 .weights = weights.data(),
                                                 .expert_output = output.data(),
                                                 .shared_output = nullptr,
                                                 .shared_gate = nullptr};
    backend.combine(kTokens, arguments, hidden.data());
    for (int token = 0; token < kTokens; ++token)
        for (int d = 0; d < kSize; ++d) {
            float sum = before[token * kSize + d];
            for (int j = 0; j < kTopK; ++j)
                sum += weights[token * kTopK + j] * output[rows[token * kTopK + j] * kSize + d];
            REQUIRE(hidden[token * kSize + d] == sum);
        }
    std::vector<float> again = before;
    parallel.combine(kTokens, arguments, again.data());
    CHECK(again == hidden);
}

TEST_CASE("a started download is there after a wait") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    DeviceBuffer<std::int32_t> values(backend);
    HostBuffer<std::int32_t> host(backend);
    for (const int size : {3, 1000, 0, 7}) {
        std::vector<std::int32_t> numbers(size);
        std::iota(numbers.begin(), numbers.end(), size);
        values.upload(numbers);
        host.start_download(values, numbers.size());
        backend.synchronize();
        const std::span<std::int32_t> found = host.first(numbers.size());
        CHECK(std::equal(found.begin(), found.end(), numbers.begin(), numbers.end()));
    }
}

}  // namespace eplb::test_cpu_backend
