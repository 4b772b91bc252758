#include <cstddef>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_support.h"
#include "tests/model/stored_matrix.h"
#include "tests/test_support.h"

namespace eplb::test_cpu_linear {

namespace {

using namespace eplb::test;

constexpr int kOutputs[] = {1, 2, 3, 47, 48, 49, 97, 480, 481, 961};

std::vector<float> linear(Backend& backend,
                          const WeightMatrix& weight,
                          const std::vector<float>& input,
                          const float* bias = nullptr) {
    const int num_tokens = static_cast<int>(input.size()) / weight.num_columns;
    std::vector<float> output(static_cast<std::size_t>(num_tokens) *
                              static_cast<std::size_t>(weight.num_rows));
    backend.linear(weight, bias, num_tokens, input.data(), output.data(), false);
    return output;
}

// The results of some rows of `input` in one call are those of the call with all.
void check_company(Backend& backend,
                   const WeightMatrix& weight,
                   const std::vector<float>& input,
                   const std::vector<float>& together,
                   const std::vector<int>& tokens) {
    std::vector<float> chosen;
    std::vector<float> expected;
    for (const int token : tokens) {
        const std::vector<float> row = rows_of(input, token, 1, weight.num_columns);
        chosen.insert(chosen.end(), row.begin(), row.end());
        const std::vector<float> result = rows_of(together, token, 1, weight.num_rows);
        expected.insert(expected.end(), result.begin(), result.end());
    }
    CAPTURE(weight.num_rows, weight.num_columns, tokens.size());
    const std::vector<float> apart = linear(backend, weight, chosen);
    REQUIRE(apart == expected);
}

std::vector<int> range(int first, int count) {
    std::vector<int> tokens;
    for (int i = 0; i < count; ++i)
        tokens.push_back(first + i);
    return tokens;
}

}  // namespace

TEST_CASE("linear agrees with plain loops for every type, with bias and added") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const WeightType type : kWeightTypes)
        for (const int num_outputs : kOutputs) {
            constexpr int kInputs = 160;
            constexpr int kTokens = 21;
            const StoredMatrix stored(type, num_outputs, kInputs, 1);
            const std::vector<float> input = random_values(kTokens * kInputs, 2);
            const std::vector<float> bias = random_values(static_cast<std::size_t>(num_outputs), 3);
            const std::vector<float> plain = linear(backend, stored.view(), input);
            const std::vector<float> biased = linear(backend, stored.view(), input, bias.data());
            std::vector<float> added(plain.size(), 100.0F);
            backend.linear(stored.view(), bias.data(), kTokens, input.data(), added.data(), true);
            CAPTURE(static_cast<int>(type), num_outputs);
            for (int token = 0; token < kTokens; ++token)
                for (int r = 0; r < num_outputs; ++r) {
                    double sum = 0;
                    for (int c = 0; c < kInputs; ++c)
                        sum += stored.value(r, c) * input[token * kInputs + c];
                    const auto i = static_cast<std::size_t>(token * num_outputs + r);
                    const double b = bias[r];
                    REQUIRE(plain[i] == Approx(sum).epsilon(1e-5).margin(3e-6));
                    REQUIRE(biased[i] == Approx(sum + b).epsilon(1e-5).margin(3e-6));
                    REQUIRE(added[i] == Approx(100 + sum + b).epsilon(1e-6));
                }
        }
}

TEST_CASE("linear reads every second row") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix stored(type, 98, 64, 4);
        WeightMatrix odd = stored.view();
        odd.num_rows = 49;
        odd.first_row = 1;
        odd.row_step = 2;
        const std::vector<float> input = random_values(5 * 64, 5);
        const std::vector<float> output = linear(backend, odd, input);
        for (int token = 0; token < 5; ++token)
            for (int r = 0; r < 49; ++r) {
                double sum = 0;
                for (int c = 0; c < 64; ++c)
                    sum += stored.value(2 * r + 1, c) * input[token * 64 + c];
                REQUIRE(output[token * 49 + r] == Approx(sum).epsilon(1e-5).margin(3e-6));
            }
    }
}

TEST_CASE("linear gives a token the same bits in any company, at any place, on any threads") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    constexpr int kTokens = 1040;
    // tiny ones, where Eigen has another way for small products; and some that it cuts in depth
    for (const int num_inputs : {1, 2, 5, 9, 64, 160, 2048, 7168})
        for (const int num_outputs : kOutputs) {
            if (num_inputs > 2000 && (kSanitized || (num_outputs > 2 && num_outputs < 480)))
                continue;
            if (num_inputs == 7168 && num_outputs != 481)
                continue;
            const StoredMatrix stored(WeightType::f32, num_outputs, num_inputs, 6);
            const WeightMatrix weight = stored.view();
            const std::vector<float> input = random_values(
                static_cast<std::size_t>(kTokens) * static_cast<std::size_t>(num_inputs), 7);
            const std::vector<float> together = linear(backend, weight, input);
            REQUIRE(linear(parallel, weight, input) == together);
            for (int count = 1; count <= 17; count += num_inputs > 2000 ? 4 : 1)
                check_company(backend, weight, input, together, range(3 * count, count));
            // of blocks; of long rows, one that fills more than one
            const std::vector<int> blocks =
                num_inputs > 2000 ? std::vector<int>{513} : std::vector<int>{31, 33, 511, 512, 513};
            for (const int count : blocks)
                check_company(parallel, weight, input, together, range(500 - count % 7, count));
            for (const int token : {0, 7, 8, 511, 512, 1039}) {
                check_company(backend, weight, input, together, {token});
                check_company(backend, weight, input, together, {3, 1000, token});
                check_company(backend, weight, input, together, {9, 8, 7, 6, 5, 4, 3, 2, token});
            }
        }
}

TEST_CASE("linear gives the same bits for a type as for its decoded weights") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix stored(type, 481, 288, 8);
        std::vector<float> decoded(stored.values.begin(), stored.values.end());
        WeightMatrix plain = stored.view();
        plain.type = WeightType::f32;
        plain.data = reinterpret_cast<const std::byte*>(decoded.data());
        const std::vector<float> input = random_values(19 * 288, 9);
        CHECK(linear(backend, stored.view(), input) == linear(backend, plain, input));
    }
}

}  // namespace eplb::test_cpu_linear
