#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/model/model_config.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_support.h"
#include "tests/model/stored_matrix.h"

namespace eplb::test_cpu_experts {

namespace {

using namespace eplb::test;

// An expert as a checkpoint stores it.
struct Expert {
    Expert(WeightType type, int hidden, int width, bool with_biases, unsigned seed)
        : gate(type, width, hidden, seed),
          up(type, width, hidden, seed + 1),
          down(type, hidden, width, seed + 2) {
        if (!with_biases)
            return;
        gate_bias = random_values(static_cast<std::size_t>(width), seed + 3);
        up_bias = random_values(static_cast<std::size_t>(width), seed + 4);
        down_bias = random_values(static_cast<std::size_t>(hidden), seed + 5);
    }

    MlpWeights view(Activation activation, float limit) const {
        const auto data = [](const std::vector<float>& bias) {
            return bias.empty() ? nullptr : bias.data();
        };
        return {.gate = gate.view(),
                .up = up.view(),
                .down = down.view(),
                .gate_bias = data(gate_bias),
                .up_bias = data(up_bias),
                .down_bias = data(down_bias),
                .activation = activation,
                .limit = limit};
    }

    // plain loops in double
    std::vector<double> run(const float* x, Activation activation, double limit) const {
        const auto product = [](const StoredMatrix& matrix, const std::vector<float>& bias,
                                const auto& from) {
            std::vector<double> to(matrix.num_rows);
            for (int r = 0; r < matrix.num_rows; ++r) {
                double sum = bias.empty() ? 0 : bias[r];
                for (int c = 0; c < matrix.num_columns; ++c)
                    sum += matrix.value(r, c) * from[c];
                to[r] = sum;
            }
            return to;
        };
        std::vector<double> g = product(gate, gate_bias, x);
        const std::vector<double> u = product(up, up_bias, x);
        for (std::size_t i = 0; i < g.size(); ++i) {
            if (activation == Activation::swiglu) {
                g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
            } else {
                const double a = std::min(g[i], limit);
                const double b = std::clamp(u[i], -limit, limit);
                g[i] = (b + 1) * a / (1 + std::exp(-1.702 * a));
            }
        }
        return product(down, down_bias, g);
    }

    StoredMatrix gate, up, down;
    std::vector<float> gate_bias, up_bias, down_bias;
};

std::vector<float> run_mlp(Backend& backend,
                           const MlpWeights& mlp,
                           const std::vector<float>& input,
                           const std::vector<std::int32_t>& rows) {
    std::vector<float> output(rows.size() * static_cast<std::size_t>(mlp.down.num_rows));
    const std::int32_t begin[] = {0, static_cast<std::int32_t>(rows.size())};
    backend.grouped_mlp({&mlp, 1}, begin, rows.data(), input.data(), output.data());
    return output;
}

// Every row's result, in calls of any size and order, is that of a call with all rows.
void check_company(const MlpWeights& mlp, int num_rows, const std::vector<int>& counts) {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    const int hidden = mlp.gate.num_columns;
    CAPTURE(hidden, mlp.gate.num_rows, static_cast<int>(mlp.gate.type));
    const std::vector<float> input =
        random_values(static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(hidden), 2);
    std::vector<std::int32_t> all(num_rows);
    std::iota(all.begin(), all.end(), 0);
    const std::vector<float> together = run_mlp(backend, mlp, input, all);
    REQUIRE(run_mlp(parallel, mlp, input, all) == together);
    for (const int count : counts) {
        std::vector<std::int32_t> rows;
        std::vector<float> expected;
        for (int i = 0; i < count; ++i) {
            const int row = (num_rows - 1 + 7 * i) % num_rows;
            rows.push_back(row);
            const std::vector<float> result = rows_of(together, row, 1, hidden);
            expected.insert(expected.end(), result.begin(), result.end());
        }
        REQUIRE(run_mlp(count % 2 == 0 ? parallel : backend, mlp, input, rows) == expected);
    }
}

}  // namespace

TEST_CASE("grouped_mlp agrees with plain loops for every type, activation and width") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    struct Size {
        int hidden;
        int width;
    };
    for (const WeightType type : kWeightTypes)
        for (const Size size : {Size{1, 1},
                                {16, 1},
                                {17, 3},
                                {64, 32},
                                {32, 64},
                                {40, 481},
                                {96, 480},
                                {64, 992},
                                {481, 40},
                                {130, 257},
                                {40, 961}}) {
            if (type == WeightType::mxfp4 && (size.hidden % 32 != 0 || size.width % 32 != 0))
                continue;
            for (const bool clamped : {false, true}) {
                const Activation activation =
                    clamped ? Activation::clamped_swiglu : Activation::swiglu;
                const float limit = clamped ? 0.7F : 0;
                // four experts, one of them without rows; biases in the clamped ones, as gpt-oss
                const std::vector<std::int32_t> begin = {0, 1, 1, 10, 23};
                std::vector<Expert> experts;
                std::vector<MlpWeights> weights;
                for (unsigned e = 0; e < 4; ++e)
                    experts.emplace_back(type, size.hidden, size.width, clamped, 10 * e + 1);
                for (const Expert& expert : experts)
                    weights.push_back(expert.view(activation, limit));
                const std::vector<float> input =
                    random_values(23 * static_cast<std::size_t>(size.hidden), 9);
                std::vector<std::int32_t> source(23);
                std::iota(source.rbegin(), source.rend(), 0);
                std::vector<float> output(input.size());
                backend.grouped_mlp(weights, begin, source.data(), input.data(), output.data());
                CAPTURE(static_cast<int>(type), size.hidden, size.width, clamped);
                for (int e = 0; e < 4; ++e)
                    for (int row = begin[e]; row < begin[e + 1]; ++row) {
                        const std::vector<double> expected = experts[e].run(
                            input.data() + (22 - row) * size.hidden, activation, limit);
                        for (int d = 0; d < size.hidden; ++d)
                            REQUIRE(output[row * size.hidden + d] ==
                                    Approx(expected[d]).epsilon(2e-5).margin(2e-5));
                    }
            }
        }
}

TEST_CASE("grouped_mlp reads rows in place without source_rows, and alternating gate and up") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const StoredMatrix both(WeightType::mxfp4, 2 * 64, 96, 1);
    const StoredMatrix down(WeightType::mxfp4, 96, 64, 2);
    MlpWeights alternating = {.gate = both.view(), .up = both.view(), .down = down.view()};
    alternating.gate.num_rows = alternating.up.num_rows = 64;
    alternating.gate.row_step = alternating.up.row_step = 2;
    alternating.up.first_row = 1;
    // the same weights, fp32 and apart
    Expert apart(WeightType::f32, 96, 64, false, 3);
    std::vector<float> gate;
    std::vector<float> up;
    for (int r = 0; r < 64; ++r)
        for (int c = 0; c < 96; ++c) {
            gate.push_back(static_cast<float>(both.value(2 * r, c)));
            up.push_back(static_cast<float>(both.value(2 * r + 1, c)));
        }
    const std::vector<float> down_values(down.values.begin(), down.values.end());
    MlpWeights plain = apart.view(Activation::swiglu, 0);
    plain.gate.data = reinterpret_cast<const std::byte*>(gate.data());
    plain.up.data = reinterpret_cast<const std::byte*>(up.data());
    plain.down.data = reinterpret_cast<const std::byte*>(down_values.data());

    const std::vector<float> input = random_values(13 * 96, 4);
    std::vector<float> output(input.size());
    std::vector<float> expected(input.size());
    const std::int32_t begin[] = {0, 13};
    backend.grouped_mlp({&alternating, 1}, begin, nullptr, input.data(), output.data());
    backend.grouped_mlp({&plain, 1}, begin, nullptr, input.data(), expected.data());
    CHECK(output == expected);
}

TEST_CASE("grouped_mlp gives a row the same bits in any company, at any place, on any threads") {
    std::vector<int> counts;
    for (int count = 1; count <= 17; ++count)
        counts.push_back(count);
    counts.insert(counts.end(), {63, 64, 65, 511, 512, 513});
    // one block of gate, up and down, as the synthetic models have
    for (const ExpertShape shape : {ExpertShape{1, 1},
                                    {2, 1},
                                    {3, 2},
                                    {16, 1},
                                    {37, 5},
                                    {64, 16},
                                    {64, 240},
                                    {48, 241},
                                    {481, 47},
                                    {961, 49},
                                    {2048, 40}}) {
        std::vector<float> weights = random_values(shape.num_weights(), 1);
        for (float& weight : weights)
            weight *= 0.1F;
        check_company(shape.view(weights.data()), 600, counts);
    }
    for (const WeightType type : kWeightTypes) {
        const Expert expert(type, 96, 992, true, 5);
        check_company(expert.view(Activation::clamped_swiglu, 7), 70, {1, 2, 9, 17, 65});
    }
    for (const int width : {1, 2, 481, 961}) {
        const Expert expert(WeightType::bf16, 481, width, false, 6);
        check_company(expert.view(Activation::swiglu, 0), 600, {1, 2, 9, 65, 513});
    }
    const Expert deep(WeightType::f8_e4m3, 7168, 481, false, 7);
    check_company(deep.view(Activation::swiglu, 0), 10, {1, 2, 9});
    const Expert wide(WeightType::bf16, 256, 2049, false, 8);
    check_company(wide.view(Activation::swiglu, 0), 600, {1, 2, 9, 65, 513});
}

TEST_CASE("an expert of thousands of rows shares a call with experts of few") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    const Expert expert(WeightType::bf16, 40, 70, false, 1);
    const MlpWeights mlp = expert.view(Activation::swiglu, 0);
    const std::vector<MlpWeights> experts(5, mlp);
    const std::vector<std::int32_t> begin = {0, 3, 4003, 4003, 4004, 4100};
    std::vector<std::int32_t> rows(4100);
    for (std::size_t r = 0; r < rows.size(); ++r)
        rows[r] = static_cast<std::int32_t>(r * 37 % 501);
    const std::vector<float> input = random_values(501 * 40, 2);
    std::vector<float> output(rows.size() * 40);
    parallel.grouped_mlp(experts, begin, rows.data(), input.data(), output.data());
    CHECK(output == run_mlp(backend, mlp, input, rows));
    const std::vector<float> expected(output);
    backend.grouped_mlp(experts, begin, rows.data(), input.data(), output.data());
    CHECK(output == expected);
}

}  // namespace eplb::test_cpu_experts
