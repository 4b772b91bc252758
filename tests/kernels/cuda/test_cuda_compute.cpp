#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/backends.h"
#include "kernels/cpu/cpu_backend.h"
#include "lib/model/decode.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/kernels/kernel_support.h"

namespace eplb::test_cuda_compute {

// Every function of a GPU against the CPU's, which has tests of its own. Integers are equal. What
// is rounded differs by the tolerances below, of the largest value.

using namespace eplb::test;

namespace {

// sums of some hundred products in another order
constexpr double kRounding = 1e-5;

struct Backends {
    explicit Backends(std::size_t workspace_bytes = std::size_t{1} << 24)
        : gpu(make_gpu(ProductPrecision::fp32, workspace_bytes)) {}

    ThreadPool threads{2};
    CpuBackend cpu{threads};
    std::unique_ptr<Backend> gpu;
};

// What `run`, given a backend and memory of it, returns on both: the GPU's first.
template <typename Run>
auto on_both(Backends& backends, const Run& run) {
    TestMemory gpu_memory(*backends.gpu);
    TestMemory cpu_memory(backends.cpu);
    auto gpu = run(*backends.gpu, gpu_memory);
    return std::pair(std::move(gpu), run(backends.cpu, cpu_memory));
}

std::vector<std::int32_t> random_ids(std::size_t size, int end, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::int32_t> ids(size);
    for (std::int32_t& id : ids)
        id = static_cast<std::int32_t>(generator() % static_cast<unsigned>(end));
    return ids;
}

// distinct in each row
std::vector<std::int32_t> random_choices(int num_rows, int top_k, int end, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> all(end);
    std::iota(all.begin(), all.end(), 0);
    for (int row = 0; row < num_rows; ++row) {
        std::shuffle(all.begin(), all.end(), generator);
        ids.insert(ids.end(), all.begin(), all.begin() + top_k);
    }
    return ids;
}

std::size_t size_of(int a, int b) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
}

// to nearest, ties to even, by the definition: the closer neighbour of 8 significant bits
float round_to_bf16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const float below = std::bit_cast<float>(bits & 0xffff0000U);
    const float above = std::bit_cast<float>((bits & 0xffff0000U) + 0x10000U);
    const double to_below = std::fabs(static_cast<double>(value) - below);
    const double to_above = std::fabs(static_cast<double>(above) - value);
    if (to_below == to_above)
        return (bits >> 16 & 1U) == 0 ? below : above;
    return to_below < to_above ? below : above;
}

// output of a linear layer by plain loops in double; both factors rounded to bf16 if asked for
std::vector<float> plain_linear(const StoredMatrix& matrix,
                                const std::vector<float>& input,
                                bool in_bf16) {
    const auto rounded = [&](float value) { return in_bf16 ? round_to_bf16(value) : value; };
    const auto num_columns = static_cast<std::size_t>(matrix.num_columns);
    std::vector<float> output;
    for (std::size_t token = 0; token < input.size() / num_columns; ++token)
        for (int row = 0; row < matrix.num_rows; ++row) {
            double sum = 0;
            for (int c = 0; c < matrix.num_columns; ++c)
                sum += double{rounded(static_cast<float>(matrix.value(row, c)))} *
                       rounded(input[token * num_columns + c]);
            output.push_back(static_cast<float>(sum));
        }
    return output;
}

}  // namespace

TEST_CASE("GPU: copy_rows and gather_rows") {
    Backends backends;
    for (const int num_rows : {0, 1, 33, 70}) {
        const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
            const float* const from = memory.put(random_values(71 * 40, 1));
            auto* const to = memory.put(std::vector<float>(71 * 100, 5.0F));
            backend.copy_rows({.num_rows = num_rows,
                               .size = 13,
                               .from_stride = 40,
                               .to_stride = 100,
                               .num_copies = 3,
                               .copy_stride = 20},
                              from, to);
            const std::int32_t* const rows =
                memory.put(random_ids(static_cast<std::size_t>(num_rows) + 1, 71, 2));
            auto* const gathered = memory.put(std::vector<float>(71 * 40, 6.0F));
            backend.gather_rows(rows, num_rows, 40 * sizeof(float), from, gathered);
            auto found = memory.get(to, 71 * 100);
            const auto more = memory.get(gathered, 71 * 40);
            found.insert(found.end(), more.begin(), more.end());
            return found;
        });
        REQUIRE(gpu == cpu);
    }
}

TEST_CASE("GPU: all_finite and clamp") {
    Backends backends;
    for (const std::size_t size : {0, 1, 1000, 100'001}) {
        const std::vector<float> values = random_values(size, 1);
        TestMemory memory(*backends.gpu);
        float* const there = memory.put(values);
        CHECK(backends.gpu->all_finite(there, static_cast<std::int64_t>(size)));
        for (const float bad :
             {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
              std::numeric_limits<float>::quiet_NaN()})
            for (const std::size_t place : {std::size_t{0}, size / 2, size - 1}) {
                if (place >= size)
                    continue;
                std::vector<float> spoilt = values;
                spoilt[place] = bad;
                CHECK_FALSE(
                    backends.gpu->all_finite(memory.put(spoilt), static_cast<std::int64_t>(size)));
            }
        backends.gpu->clamp(0.5F, static_cast<std::int64_t>(size), there);
        std::vector<float> expected = values;
        for (float& value : expected)
            value = std::clamp(value, -0.5F, 0.5F);
        CHECK(memory.get(there, size) == expected);
    }
}

TEST_CASE("GPU: embed, of every type") {
    Backends backends;
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix table(type, 300, 96, 1);
        for (const std::size_t num_tokens : {0, 1, 150}) {
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                const WeightMatrix weight = memory.hold(table);
                auto* const output = memory.room<float>(num_tokens * 96);
                backend.embed(weight, random_ids(num_tokens, 300, 2), output);
                return memory.get(output, num_tokens * 96);
            });
            REQUIRE(gpu == cpu);
        }
    }
}

TEST_CASE("GPU: rms_norm") {
    Backends backends;
    for (const int size : {1, 3, 64, 2051})
        for (const int num_rows : {0, 1, 37}) {
            const std::vector<float> weight = random_values(static_cast<std::size_t>(size), 1);
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                const float* const norm = memory.hold(weight);
                auto* const values = memory.put(random_values(size_of(num_rows + 1, size + 5), 2));
                auto* const output =
                    memory.put(std::vector<float>(size_of(num_rows + 1, size + 2), 7.0F));
                backend.rms_norm({norm, size, 1e-5F, size + 5, size + 2}, num_rows, values, output);
                backend.rms_norm({norm, size, 1e-5F, size + 5, size + 5}, num_rows, values, values);
                auto found = memory.get(output, size_of(num_rows + 1, size + 2));
                const auto in_place = memory.get(values, size_of(num_rows + 1, size + 5));
                found.insert(found.end(), in_place.begin(), in_place.end());
                return found;
            });
            check_close(gpu, cpu, 1e-6);
        }
}

TEST_CASE("GPU: rotate") {
    Backends backends;
    for (const bool interleaved : {false, true}) {
        std::vector<float> frequencies;
        for (int pair = 0; pair < 8; ++pair)
            frequencies.push_back(std::pow(100.0F, -static_cast<float>(pair) / 8));
        const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
            const float* const held = memory.hold(frequencies);
            auto* const values = memory.put(random_values(70 * 64, 1));
            std::vector<std::int32_t> positions;
            for (int i = 0; i < 70; ++i)
                positions.push_back(i * i * 31);
            backend.rotate({held, 16, 1.25F, interleaved, 3, 20, 4, 64}, positions, values);
            backend.rotate({held, 16, 1.25F, interleaved, 3, 20, 4, 64}, {}, values);
            return memory.get(values, 70 * 64);
        });
        check_close(gpu, cpu, 1e-6);
    }
}

TEST_CASE("GPU: attention") {
    Backends backends;
    const std::vector<float> sinks = {0.5F, -2, 3, 0};
    for (const int window : {0, 5, 128})
        for (const bool with_sinks : {false, true}) {
            constexpr int kPositions = 150;
            constexpr int kCut = 67;
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                const float* const held = memory.hold(sinks);
                const float* const queries = memory.put(random_values(kPositions * 4 * 24, 1));
                const float* const keys = memory.put(random_values(kPositions * 2 * 24, 2));
                const float* const values = memory.put(random_values(kPositions * 2 * 10, 3));
                auto* const output = memory.room<float>(kPositions * 4 * 10);
                const Backend::AttentionPiece pieces[] = {
                    {kCut, kPositions - kCut, queries + kCut * 4 * 24, keys, values,
                     output + kCut * 4 * 10},
                    {0, kCut, queries, keys, values, output}};
                backend.attention({4, 2, 24, 10, 0.2F, window, with_sinks ? held : nullptr},
                                  pieces);
                return memory.get(output, kPositions * 4 * 10);
            });
            check_close(gpu, cpu, kRounding);
        }
}

TEST_CASE("GPU: linear in fp32, of every type, with panels, biases and sums") {
    // a workspace of 64 KiB makes panels of a few rows
    for (const std::size_t workspace_bytes : {std::size_t{1} << 16, std::size_t{1} << 24}) {
        Backends backends(workspace_bytes);
        for (const WeightType type : kWeightTypes)
            for (const int num_rows : {1, 130}) {
                const StoredMatrix matrix(type, num_rows, 160, 1);
                const std::vector<float> bias =
                    random_values(static_cast<std::size_t>(num_rows), 2);
                for (const int num_tokens : {0, 1, 9})
                    for (const bool add : {false, true}) {
                        const auto run = [&](Backend& backend, TestMemory& memory) {
                            const WeightMatrix weight = memory.hold(matrix);
                            const float* const held = memory.hold(bias);
                            const float* const input =
                                memory.put(random_values(size_of(num_tokens, 160), 3));
                            auto* const output =
                                memory.put(random_values(size_of(num_tokens, num_rows), 4));
                            backend.linear(weight, add ? nullptr : held, num_tokens, input, output,
                                           add);
                            if (add)
                                backend.linear(weight, held, num_tokens, input, output, true);
                            return memory.get(output, size_of(num_tokens, num_rows));
                        };
                        const auto [gpu, cpu] = on_both(backends, run);
                        check_close(gpu, cpu, kRounding);
                    }
            }
    }
}

TEST_CASE("GPU: linear of every other row of a matrix, from a row on") {
    Backends backends;
    for (const WeightType type : kWeightTypes) {
        const StoredMatrix matrix(type, 40, 64, 1);
        for (const int row_step : {1, 2}) {
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                WeightMatrix weight = memory.hold(matrix);
                weight.num_rows = 17;
                weight.first_row = 3;
                weight.row_step = row_step;
                const float* const input = memory.put(random_values(5 * 64, 3));
                auto* const output = memory.room<float>(5 * 17);
                backend.linear(weight, nullptr, 5, input, output, false);
                return memory.get(output, 5 * 17);
            });
            check_close(gpu, cpu, kRounding);
        }
    }
}

TEST_CASE("GPU: linear in bf16 multiplies rounded values and sums them in fp32") {
    for (const std::size_t workspace_bytes : {std::size_t{1} << 16, std::size_t{1} << 24}) {
        const std::unique_ptr<Backend> gpu = make_gpu(ProductPrecision::bf16, workspace_bytes);
        for (const WeightType type : kWeightTypes) {
            const StoredMatrix matrix(type, 70, 160, 1);
            const std::vector<float> input = random_values(9 * 160, 3);
            TestMemory memory(*gpu);
            const WeightMatrix weight = memory.hold(matrix);
            auto* const output = memory.room<float>(9 * 70);
            gpu->linear(weight, nullptr, 9, memory.put(input), output, false);
            const std::vector<float> found = memory.get(output, 9 * 70);
            check_close(found, plain_linear(matrix, input, true), 1e-6);
            // far from what no rounding gives: it was rounded
            const std::vector<float> exact = plain_linear(matrix, input, false);
            double worst = 0;
            for (std::size_t i = 0; i < found.size(); ++i)
                worst = std::max(worst, std::fabs(double{found[i]} - exact[i]));
            CHECK(worst > 1e-5);
        }
    }
}

namespace {

RouterSpec router_spec(ScoreFunction score, int num_experts, int top_k, bool with_groups) {
    return {
        .score_function = score,
        .num_experts = num_experts,
        .top_k = top_k,
        .has_bias = score == ScoreFunction::sigmoid,
        .num_groups = with_groups ? 8 : 1,
        .top_groups = with_groups ? 4 : 1,
        .group_score = score == ScoreFunction::sigmoid ? GroupScore::top2_sum : GroupScore::maximum,
        .scale = 2.5F};
}

struct Routed {
    std::vector<float> normalized;
    std::vector<std::int32_t> expert_ids;
    std::vector<float> weights;
    std::vector<float> margins;
};

}  // namespace

TEST_CASE("GPU: route") {
    Backends backends;
    constexpr int kHidden = 48;
    for (const RouterSpec& spec : {router_spec(ScoreFunction::sigmoid, 256, 8, true),
                                   router_spec(ScoreFunction::softmax, 64, 6, false),
                                   router_spec(ScoreFunction::softmax, 160, 6, true),
                                   router_spec(ScoreFunction::sqrtsoftplus, 8, 2, false)})
        for (const int num_tokens : {0, 1, 100}) {
            const auto num_experts = static_cast<std::size_t>(spec.num_experts);
            const auto top_k = static_cast<std::size_t>(spec.top_k);
            const auto tokens = static_cast<std::size_t>(num_tokens);
            const std::vector<float> norm = random_values(kHidden, 1);
            const std::vector<float> weight = random_values(num_experts * kHidden, 2);
            const std::vector<float> logit_bias = random_values(num_experts, 3);
            const std::vector<float> bias = random_values(num_experts, 4);
            const auto run = [&](Backend& backend, TestMemory& memory) {
                auto* const normalized = memory.room<float>(tokens * kHidden);
                auto* const expert_ids = memory.room<std::int32_t>(tokens * top_k);
                auto* const weights = memory.room<float>(tokens * top_k);
                auto* const margins = memory.room<float>(tokens);
                backend.route({.spec = &spec,
                               .hidden_size = kHidden,
                               .norm = memory.hold(norm),
                               .epsilon = 1e-5F,
                               .weight = memory.hold(weight),
                               .logit_bias = memory.hold(logit_bias),
                               .bias = spec.has_bias ? memory.hold(bias) : nullptr},
                              num_tokens, memory.put(random_values(tokens * kHidden, 5)),
                              {.normalized = normalized,
                               .expert_ids = expert_ids,
                               .weights = weights,
                               .margins = margins});
                return Routed{memory.get(normalized, tokens * kHidden),
                              memory.get(expert_ids, tokens * top_k),
                              memory.get(weights, tokens * top_k), memory.get(margins, tokens)};
            };
            const auto [gpu, cpu] = on_both(backends, run);
            check_close(gpu.normalized, cpu.normalized, 1e-6);
            // logits are rounded otherwise: a close call may end otherwise, and only that
            int num_others = 0;
            for (std::size_t t = 0; t < tokens; ++t) {
                CAPTURE(t);
                auto ids = rows_of(gpu.expert_ids, static_cast<int>(t), 1, spec.top_k);
                auto expected = rows_of(cpu.expert_ids, static_cast<int>(t), 1, spec.top_k);
                std::sort(ids.begin(), ids.end());
                std::sort(expected.begin(), expected.end());
                if (cpu.margins[t] > 1e-4F) {
                    REQUIRE(ids == expected);
                    REQUIRE(gpu.margins[t] == Approx(cpu.margins[t]).margin(1e-4));
                }
                num_others += gpu.expert_ids[t * top_k] == cpu.expert_ids[t * top_k] ? 0 : 1;
                for (std::size_t j = 0; j < top_k; ++j)
                    if (gpu.expert_ids[t * top_k + j] == cpu.expert_ids[t * top_k + j])
                        REQUIRE(gpu.weights[t * top_k + j] ==
                                Approx(cpu.weights[t * top_k + j]).epsilon(1e-4));
            }
            CHECK(num_others <= num_tokens / 20);
        }
}

TEST_CASE("GPU: plan_dispatch") {
    Backends backends;
    constexpr int kPlaces = 20;
    constexpr int kTopK = 4;
    for (const int first_place : {0, 12})
        for (const int num_tokens : {0, 1, 333, 1500}) {
            const std::size_t num_pairs = size_of(num_tokens, kTopK);
            std::vector<std::int32_t> ids = random_choices(num_tokens, kTopK, kPlaces, 1);
            for (std::int32_t& id : ids)
                id += first_place;
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                const std::int32_t* const place_ids = memory.put(ids);
                auto* const place_begin = memory.room<std::int32_t>(kPlaces + 1);
                auto* const rows = memory.room<std::int32_t>(num_pairs);
                auto* const source_rows = memory.room<std::int32_t>(num_pairs);
                auto* const row_places = memory.room<std::int32_t>(num_pairs);
                backend.plan_dispatch({.top_k = kTopK,
                                       .num_places = kPlaces,
                                       .first_place = first_place,
                                       .num_tokens = num_tokens,
                                       .place_ids = place_ids},
                                      {place_begin, rows, source_rows, row_places});
                return std::vector{memory.get(place_begin, kPlaces + 1),
                                   memory.get(rows, num_pairs), memory.get(source_rows, num_pairs),
                                   memory.get(row_places, num_pairs)};
            });
            REQUIRE(gpu == cpu);
        }
}

namespace {

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

    MlpWeights held(TestMemory& memory, Activation activation) const {
        return {.gate = memory.hold(gate),
                .up = memory.hold(up),
                .down = memory.hold(down),
                .gate_bias = memory.hold(gate_bias),
                .up_bias = memory.hold(up_bias),
                .down_bias = memory.hold(down_bias),
                .activation = activation,
                .limit = 1.5F};
    }

    StoredMatrix gate, up, down;
    std::vector<float> gate_bias, up_bias, down_bias;
};

// rows of experts: none, one, many, none, some
const std::vector<std::int32_t> kRowBegin = {0, 0, 1, 150, 150, 170, 173};

std::vector<float> run_experts(Backend& backend,
                               TestMemory& memory,
                               const std::vector<Expert>& experts,
                               Activation activation,
                               bool gathers) {
    constexpr int kHidden = 64;
    std::vector<MlpWeights> weights;
    for (const Expert& expert : experts)
        weights.push_back(expert.held(memory, activation));
    // of experts without rows nothing is read
    weights[0] = {};
    weights[0].gate.num_rows = weights[1].gate.num_rows;
    weights[0].gate.num_columns = kHidden;
    const auto num_rows = static_cast<std::size_t>(kRowBegin.back());
    const float* const input = memory.put(random_values(num_rows * kHidden, 77));
    auto* const output = memory.room<float>(num_rows * kHidden);
    const std::int32_t* const source_rows =
        gathers ? memory.put(random_ids(num_rows, kRowBegin.back(), 5)) : nullptr;
    backend.grouped_mlp(weights, kRowBegin, source_rows, input, output);
    return memory.get(output, num_rows * kHidden);
}

std::vector<Expert> some_experts(WeightType type, bool with_biases) {
    std::vector<Expert> experts;
    for (unsigned e = 0; e + 1 < kRowBegin.size(); ++e)
        experts.emplace_back(type, 64, 96, with_biases, 100 * e + 1);
    return experts;
}

}  // namespace

TEST_CASE("GPU: grouped_mlp in fp32") {
    // the smaller workspace has room for a part of the rows, and of a weight
    for (const std::size_t workspace_bytes : {std::size_t{1} << 16, std::size_t{1} << 24}) {
        Backends backends(workspace_bytes);
        for (const WeightType type : kWeightTypes)
            for (const bool gathers : {false, true}) {
                const Activation activation =
                    gathers ? Activation::clamped_swiglu : Activation::swiglu;
                const std::vector<Expert> experts = some_experts(type, gathers);
                const auto [gpu, cpu] =
                    on_both(backends, [&](Backend& backend, TestMemory& memory) {
                        return run_experts(backend, memory, experts, activation, gathers);
                    });
                check_close(gpu, cpu, kRounding);
            }
    }
}

TEST_CASE("GPU: grouped_mlp in bf16 is close to fp32") {
    ThreadPool threads(2);
    CpuBackend cpu(threads);
    for (const std::size_t workspace_bytes : {std::size_t{1} << 16, std::size_t{1} << 24}) {
        const std::unique_ptr<Backend> gpu = make_gpu(ProductPrecision::bf16, workspace_bytes);
        for (const WeightType type : kWeightTypes)
            for (const bool gathers : {false, true}) {
                const std::vector<Expert> experts = some_experts(type, gathers);
                TestMemory gpu_memory(*gpu);
                TestMemory cpu_memory(cpu);
                // 8 significant bits of inputs, weights and activations: 2^-9 each at most
                check_close(run_experts(*gpu, gpu_memory, experts, Activation::swiglu, gathers),
                            run_experts(cpu, cpu_memory, experts, Activation::swiglu, gathers),
                            0.01);
            }
    }
}

TEST_CASE("GPU: grouped_mlp without rows does nothing") {
    Backends backends;
    std::vector<MlpWeights> weights(3);
    const std::vector<std::int32_t> row_begin(4, 0);
    backends.gpu->grouped_mlp(weights, row_begin, nullptr, nullptr, nullptr);
    backends.gpu->grouped_mlp({}, std::vector<std::int32_t>{0}, nullptr, nullptr, nullptr);
    backends.gpu->synchronize();
}

TEST_CASE("GPU: combine") {
    Backends backends;
    constexpr int kHidden = 72;
    constexpr int kTopK = 3;
    for (const int shared : {0, 1, 2})  // none, without and with a gate
        for (const int num_tokens : {0, 1, 50}) {
            const auto [gpu, cpu] = on_both(backends, [&](Backend& backend, TestMemory& memory) {
                auto* const hidden = memory.put(random_values(100 * kHidden, 1));
                backend.combine(
                    num_tokens,
                    {.top_k = kTopK,
                     .hidden_size = kHidden,
                     .rows = memory.put(random_ids(100 * kTopK, 200, 2)),
                     .weights = memory.put(random_values(100 * kTopK, 3)),
                     .expert_output = memory.put(random_values(200 * kHidden, 4)),
                     .shared_output =
                         shared > 0 ? memory.put(random_values(100 * kHidden, 5)) : nullptr,
                     .shared_gate = shared > 1 ? memory.put(random_values(100, 6)) : nullptr},
                    hidden);
                return memory.get(hidden, 100 * kHidden);
            });
            REQUIRE(gpu == cpu);
        }
}

}  // namespace eplb::test_cuda_compute
