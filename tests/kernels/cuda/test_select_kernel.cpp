#include <cstddef>
#include <random>
#include <vector>

#include "kernels/cuda/launch.h"
#include "lib/base/error.h"
#include "lib/model/select_experts.h"
#include "tests/kernels/cuda/launch_support.h"

namespace eplb::test_select_kernel {

namespace {

using namespace eplb::test;

enum class Logits { normal, few_values, equal, huge };

std::vector<float> make_logits(Logits kind, std::size_t size, unsigned seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> few(-2, 2);
    std::vector<float> values(size);
    for (float& value : values)
        switch (kind) {
            case Logits::normal:
                value = 3 * normal(generator);
                break;
            case Logits::few_values: {
                // many ties; zeros of both signs
                const int drawn = few(generator);
                value = drawn == 1 ? -0.0F : static_cast<float>(drawn) * 0.5F;
                break;
            }
            case Logits::equal:
                value = 0.25F;
                break;
            case Logits::huge:
                value = few(generator) < 0 ? -1e30F : few(generator) > 0 ? 1e30F : 0.0F;
                break;
        }
    return values;
}

struct Chosen {
    std::vector<std::int32_t> expert_ids;
    std::vector<float> weights;
    std::vector<float> margins;
};

std::vector<float> sum(const std::vector<float>& logits, const std::vector<float>& logit_bias) {
    std::vector<float> sums = logits;
    for (std::size_t i = 0; i < sums.size() && !logit_bias.empty(); ++i)
        sums[i] += logit_bias[i % logit_bias.size()];
    return sums;
}

Chosen on_cpu(const RouterSpec& spec,
              const std::vector<float>& logits,
              const std::vector<float>& logit_bias,
              const std::vector<float>& bias) {
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const auto top_k = static_cast<std::size_t>(spec.top_k);
    const std::size_t num_tokens = logits.size() / num_experts;
    const std::vector<float> sums = sum(logits, logit_bias);
    Chosen chosen = {std::vector<std::int32_t>(num_tokens * top_k),
                     std::vector<float>(num_tokens * top_k), std::vector<float>(num_tokens)};
    SelectionScratch scratch(spec);
    for (std::size_t token = 0; token < num_tokens; ++token)
        select_experts(spec, sums.data() + token * num_experts, bias.data(), scratch,
                       chosen.expert_ids.data() + token * top_k,
                       chosen.weights.data() + token * top_k, chosen.margins.data() + token);
    return chosen;
}

Chosen on_gpu(const RouterSpec& spec,
              const std::vector<float>& logits,
              const std::vector<float>& logit_bias,
              const std::vector<float>& bias) {
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const std::size_t num_tokens = logits.size() / num_experts;
    const std::size_t num_ids = num_tokens * static_cast<std::size_t>(spec.top_k);
    DeviceArray<float> device_logits(logits);
    DeviceArray<float> device_logit_bias(logit_bias);
    DeviceArray<float> device_bias(bias);
    DeviceArray<std::int32_t> expert_ids(num_ids);
    DeviceArray<float> weights(num_ids);
    DeviceArray<float> margins(num_tokens);
    cuda::select(spec, device_logit_bias.data(), device_bias.data(), static_cast<int>(num_tokens),
                 device_logits.data(),
                 {.normalized = nullptr,
                  .expert_ids = expert_ids.data(),
                  .weights = weights.data(),
                  .margins = margins.data()},
                 nullptr);
    return {expert_ids.get(), weights.get(), margins.get()};
}

void check_alike(const RouterSpec& spec, const Chosen& gpu, const Chosen& cpu) {
    const bool exact_scores = spec.score_function != ScoreFunction::sqrtsoftplus;
    if (exact_scores) {
        REQUIRE(gpu.expert_ids == cpu.expert_ids);
        REQUIRE(gpu.margins == cpu.margins);
    }
    const auto top_k = static_cast<std::size_t>(spec.top_k);
    for (std::size_t i = 0; i < cpu.weights.size(); ++i) {
        // log1p may differ in its last bits: experts whose scores are as close may change places
        if (!exact_scores && cpu.expert_ids[i] != gpu.expert_ids[i]) {
            REQUIRE(cpu.margins[i / top_k] == Approx(gpu.margins[i / top_k]).margin(1e-5));
            continue;
        }
        REQUIRE(gpu.weights[i] == Approx(cpu.weights[i]).epsilon(2e-5).margin(1e-12));
    }
    const bool exact_sum = spec.score_function != ScoreFunction::softmax || spec.normalize;
    if (exact_scores && exact_sum)
        REQUIRE(gpu.weights == cpu.weights);
}

void check(const RouterSpec& spec, Logits kind, int num_tokens, unsigned seed) {
    CAPTURE(static_cast<int>(spec.score_function), spec.num_experts, spec.top_k, spec.num_groups,
            spec.top_groups, spec.normalize, static_cast<int>(kind), num_tokens);
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const std::vector<float> logits =
        make_logits(kind, static_cast<std::size_t>(num_tokens) * num_experts, seed);
    const std::vector<float> bias = make_logits(kind == Logits::normal ? kind : Logits::few_values,
                                                spec.has_bias ? num_experts : 0, seed + 1);
    const std::vector<float> logit_bias =
        make_logits(Logits::normal, seed % 2 == 0 ? num_experts : 0, seed + 2);
    check_alike(spec, on_gpu(spec, logits, logit_bias, bias),
                on_cpu(spec, logits, logit_bias, bias));
}

}  // namespace

TEST_CASE("select: the CPU's experts for all numbers of them, of all score functions") {
    unsigned seed = 0;
    for (const int num_experts : {1, 2, 8, 31, 32, 33, 60, 64, 65, 128, 160, 256, 384, 1000, 1024})
        for (const int top_k : {1, 2, 6, 8, 32})
            for (const ScoreFunction function :
                 {ScoreFunction::softmax, ScoreFunction::sigmoid, ScoreFunction::sqrtsoftplus,
                  ScoreFunction::none}) {
                if (top_k > num_experts)
                    continue;
                ++seed;
                RouterSpec spec = {.score_function = function,
                                   .num_experts = num_experts,
                                   .top_k = top_k,
                                   .has_bias = function != ScoreFunction::softmax && seed % 3 != 0,
                                   .normalize = seed % 2 == 0,
                                   .scale = 1.5F};
                check(spec, Logits::normal, 9, seed);
                check(spec, seed % 2 == 0 ? Logits::few_values : Logits::huge, 5, seed);
                if (function == ScoreFunction::softmax) {
                    spec.normalize = !spec.normalize;
                    check(spec, Logits::equal, 3, seed);
                }
            }
}

TEST_CASE("select: groups of any size, also across warps' places") {
    struct Shape {
        int num_experts, num_groups, top_groups, top_k;
    };
    unsigned seed = 1000;
    for (const Shape& shape :
         {Shape{256, 8, 4, 8}, Shape{160, 8, 3, 6}, Shape{60, 3, 1, 4}, Shape{64, 32, 9, 8},
          Shape{32, 32, 7, 7}, Shape{1024, 4, 1, 8}, Shape{96, 2, 1, 32}, Shape{21, 3, 2, 2},
          Shape{384, 8, 7, 8}, Shape{1000, 25, 3, 16}})
        for (const GroupScore score : {GroupScore::maximum, GroupScore::top2_sum})
            for (const ScoreFunction function : {ScoreFunction::softmax, ScoreFunction::sigmoid})
                for (const Logits kind : {Logits::normal, Logits::few_values, Logits::equal}) {
                    const bool softmax = function == ScoreFunction::softmax;
                    if (softmax && score != GroupScore::maximum)
                        continue;
                    check({.score_function = function,
                           .num_experts = shape.num_experts,
                           .top_k = shape.top_k,
                           .has_bias = !softmax,
                           .num_groups = shape.num_groups,
                           .top_groups = shape.top_groups,
                           .group_score = score,
                           .scale = 2.5F},
                          kind, 6, ++seed);
                }
}

TEST_CASE("select: any number of tokens") {
    const RouterSpec spec = {.score_function = ScoreFunction::sigmoid,
                             .num_experts = 64,
                             .top_k = 6,
                             .has_bias = true,
                             .num_groups = 8,
                             .top_groups = 4};
    unsigned seed = 2000;
    for (const int num_tokens : {0, 1, 7, 8, 31, 32, 33, 1000})
        check(spec, Logits::normal, num_tokens, ++seed);
    // more blocks than run at once
    check({.num_experts = 8, .top_k = 2}, Logits::normal, 4500, ++seed);
}

TEST_CASE("select: margins are not needed") {
    const RouterSpec spec = {.num_experts = 16, .top_k = 3};
    const std::vector<float> logits = make_logits(Logits::normal, 16 * 40, 1);
    DeviceArray<float> device_logits(logits);
    DeviceArray<std::int32_t> expert_ids(40 * 3);
    DeviceArray<float> weights(40 * 3);
    cuda::select(
        spec, nullptr, nullptr, 40, device_logits.data(),
        {.normalized = nullptr, .expert_ids = expert_ids.data(), .weights = weights.data()},
        nullptr);
    CHECK(expert_ids.get() == on_cpu(spec, logits, {}, {}).expert_ids);
}

TEST_CASE("select: what a GPU cannot do is an error") {
    CHECK_THROWS_AS(
        cuda::select({.num_experts = 1025, .top_k = 1}, nullptr, nullptr, 1, nullptr, {}, nullptr),
        Error);
    CHECK_THROWS_AS(
        cuda::select({.num_experts = 64, .top_k = 33}, nullptr, nullptr, 1, nullptr, {}, nullptr),
        Error);
    CHECK_THROWS_AS(cuda::select({.num_experts = 66, .top_k = 1, .num_groups = 33}, nullptr,
                                 nullptr, 1, nullptr, {}, nullptr),
                    Error);
}

}  // namespace eplb::test_select_kernel
