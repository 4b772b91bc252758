#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/catch.h"

namespace {

using namespace eplb;

std::vector<float> random_values(std::size_t size, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(size);
    for (float& value : values)
        value = normal(generator);
    return values;
}

// down(silu(gate x) * (up x)) in double
std::vector<double> mlp(const float* weights, const ExpertShape& shape, const float* x) {
    const int h = shape.hidden_size;
    const int m = shape.intermediate_size;
    std::vector<double> activation(static_cast<std::size_t>(m));
    for (int i = 0; i < m; ++i) {
        double gate = 0;
        double up = 0;
        for (int d = 0; d < h; ++d) {
            gate += static_cast<double>(weights[d * 2 * m + i]) * x[d];
            up += static_cast<double>(weights[d * 2 * m + m + i]) * x[d];
        }
        activation[static_cast<std::size_t>(i)] = gate / (1 + std::exp(-gate)) * up;
    }
    std::vector<double> y(static_cast<std::size_t>(h));
    for (int d = 0; d < h; ++d)
        for (int i = 0; i < m; ++i)
            y[static_cast<std::size_t>(d)] +=
                weights[(2 * m * h) + i * h + d] * activation[static_cast<std::size_t>(i)];
    return y;
}

std::vector<float> run_mlp(CpuBackend& backend,
                           const ExpertShape& shape,
                           const std::vector<float>& weights,
                           const std::vector<float>& input,
                           const std::vector<std::int32_t>& rows) {
    std::vector<float> output(rows.size() * static_cast<std::size_t>(shape.hidden_size));
    const float* const slot = weights.data();
    const std::int32_t begin[] = {0, static_cast<std::int32_t>(rows.size())};
    backend.grouped_mlp(shape, {&slot, 1}, begin, rows.data(), input.data(), output.data());
    return output;
}

}  // namespace

TEST_CASE("grouped_mlp agrees with plain loops for all sizes and tails") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const ExpertShape shape : {ExpertShape{16, 1}, {17, 3}, {64, 16}, {40, 100}, {300, 24}}) {
        for (const int num_rows : {1, 2, 7, 8, 9, 127, 128, 129, 260}) {
            const auto h = static_cast<std::size_t>(shape.hidden_size);
            // three slots: some rows, none, the rest; input rows in reverse
            const std::vector<std::int32_t> begin = {0, num_rows / 3, num_rows / 3, num_rows};
            std::vector<std::vector<float>> weights;
            std::vector<const float*> slots;
            for (unsigned s = 0; s < 3; ++s) {
                weights.push_back(random_values(shape.num_weights(), s));
                for (float& weight : weights.back())
                    weight *= 0.1F;
            }
            for (const auto& slot : weights)
                slots.push_back(slot.data());
            const std::vector<float> input =
                random_values(static_cast<std::size_t>(num_rows) * h, 9);
            std::vector<std::int32_t> source;
            for (int r = 0; r < num_rows; ++r)
                source.push_back(num_rows - 1 - r);
            std::vector<float> output(input.size());
            backend.grouped_mlp(shape, slots, begin, source.data(), input.data(), output.data());
            for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r) {
                const std::size_t slot = static_cast<int>(r) < begin[1] ? 0 : 2;
                const std::vector<double> expected =
                    mlp(slots[slot], shape, input.data() + static_cast<std::size_t>(source[r]) * h);
                for (std::size_t d = 0; d < h; ++d)
                    REQUIRE(output[r * h + d] == Approx(expected[d]).epsilon(1e-4).margin(1e-5));
            }
        }
    }
}

TEST_CASE("a row's result has the same bits in any company and at any place") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    for (const ExpertShape shape : {ExpertShape{16, 1}, {37, 5}, {64, 16}, {2048, 40}}) {
        const auto h = static_cast<std::size_t>(shape.hidden_size);
        constexpr int kNumRows = 300;
        const std::vector<float> weights = random_values(shape.num_weights(), 1);
        const std::vector<float> input = random_values(kNumRows * h, 2);
        std::vector<std::int32_t> all(kNumRows);
        for (int r = 0; r < kNumRows; ++r)
            all[static_cast<std::size_t>(r)] = r;
        const std::vector<float> together = run_mlp(backend, shape, weights, input, all);
        CHECK(run_mlp(parallel, shape, weights, input, all) == together);
        for (const int row : {0, 1, 5, 127, 128, 255, 299})
            for (const std::vector<std::int32_t>& company :
                 {std::vector<std::int32_t>{row}, {3, row}, {1, 2, 3, 4, 5, 6, 7, 8, row}}) {
                const std::vector<float> apart = run_mlp(backend, shape, weights, input, company);
                for (std::size_t d = 0; d < h; ++d)
                    REQUIRE(apart[apart.size() - h + d] ==
                            together[static_cast<std::size_t>(row) * h + d]);
            }
    }
}

TEST_CASE("route normalizes and selects each token by itself") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const RouterSpec spec = {
        .score_function = ScoreFunction::softmax, .num_experts = 24, .top_k = 3};
    constexpr int kHidden = 20;
    constexpr int kNumTokens = 131;
    const std::vector<float> weight = random_values(24 * kHidden, 3);
    const std::vector<float> norm = random_values(kHidden, 4);
    const std::vector<float> hidden = random_values(kNumTokens * kHidden, 5);
    const Backend::RouterArguments router = {&spec, kHidden, norm.data(), weight.data(), nullptr};
    std::vector<float> normalized(hidden.size());
    std::vector<std::int32_t> ids(kNumTokens * 3);
    std::vector<float> weights(ids.size());
    backend.route(router, kNumTokens, hidden.data(), normalized.data(), ids.data(), weights.data());
    for (int t = 0; t < kNumTokens; ++t) {
        double square = 0;
        for (int d = 0; d < kHidden; ++d)
            square += std::pow(hidden[static_cast<std::size_t>(t * kHidden + d)], 2.0);
        std::vector<double> x(kHidden);
        for (int d = 0; d < kHidden; ++d) {
            const auto i = static_cast<std::size_t>(t * kHidden + d);
            x[static_cast<std::size_t>(d)] =
                hidden[i] / std::sqrt(square / kHidden + 1e-6) * norm[static_cast<std::size_t>(d)];
            REQUIRE(normalized[i] == Approx(x[static_cast<std::size_t>(d)]).epsilon(1e-5));
        }
        int num_better = 0;  // experts with a larger logit than the last chosen one
        const auto logit = [&](int e) {
            double sum = 0;
            for (int d = 0; d < kHidden; ++d)
                sum += weight[static_cast<std::size_t>(e * kHidden + d)] *
                       x[static_cast<std::size_t>(d)];
            return sum;
        };
        for (int e = 0; e < 24; ++e)
            num_better += logit(e) > logit(ids[static_cast<std::size_t>(t * 3 + 2)]) ? 1 : 0;
        REQUIRE(num_better == 2);

        std::vector<float> alone(kHidden);
        std::vector<std::int32_t> alone_ids(3);
        std::vector<float> alone_weights(3);
        backend.route(router, 1, hidden.data() + t * kHidden, alone.data(), alone_ids.data(),
                      alone_weights.data());
        for (std::size_t j = 0; j < 3; ++j) {
            REQUIRE(alone_ids[j] == ids[static_cast<std::size_t>(t) * 3 + j]);
            REQUIRE(alone_weights[j] == weights[static_cast<std::size_t>(t) * 3 + j]);
        }
    }
}

TEST_CASE("combine adds weighted rows and the shared output to the tokens of its chunk") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const std::vector<std::int32_t> tokens = {2, 0};
    const std::vector<std::int32_t> rows = {3, 0, 1, 2};
    const std::vector<float> weights = {0.5F, 2, 9, 9, 1, -1};  // [3 tokens][2]
    const std::vector<float> output = {1, 2, 10, 20, 100, 200, 1000, 2000};
    const std::vector<float> shared = {7, 8, 70, 80};
    std::vector<float> hidden = {0, 0, 5, 5, 1, 1};
    backend.combine(2, tokens.data(), 2, 2, rows.data(), weights.data(), output.data(),
                    shared.data(), hidden.data());
    // token 2: 1 * row 3 - 1 * row 0 + shared row 0; token 0: 0.5 * row 1 + 2 * row 2 + shared row
    // 1
    CHECK(hidden == std::vector<float>{0.5F * 10 + 2 * 100 + 70, 0.5F * 20 + 2 * 200 + 80, 5, 5,
                                       1 + 1000 - 1 + 7, 1 + 2000 - 2 + 8});
}
