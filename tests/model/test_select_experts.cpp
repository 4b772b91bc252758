#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "lib/model/model_config.h"
#include "lib/model/select_experts.h"
#include "tests/catch.h"

namespace eplb::test_select_experts {

namespace {

struct Selection {
    std::vector<std::int32_t> expert_ids;
    std::vector<float> weights;
};

Selection select(const RouterSpec& spec,
                 const std::vector<float>& logits,
                 const std::vector<float>& bias = {}) {
    Selection selection;
    selection.expert_ids.resize(spec.top_k);
    selection.weights.resize(selection.expert_ids.size());
    SelectionScratch scratch(spec);
    select_experts(spec, logits.data(), bias.data(), scratch, selection.expert_ids.data(),
                   selection.weights.data());
    return selection;
}

std::vector<double> scores(const RouterSpec& spec, const std::vector<float>& logits) {
    std::vector<double> result(logits.begin(), logits.end());
    switch (spec.score_function) {
        case ScoreFunction::sigmoid:
            for (double& x : result)
                x = 1 / (1 + std::exp(-x));
            break;
        case ScoreFunction::sqrtsoftplus:
            for (double& x : result)
                x = std::sqrt(std::log1p(std::exp(x)));
            break;
        case ScoreFunction::softmax: {
            double sum = 0;
            for (double& x : result) {
                x = std::exp(x);
                sum += x;
            }
            for (double& x : result)
                x /= sum;
            break;
        }
        case ScoreFunction::none:
            break;
    }
    return result;
}

// everything by sorting, in double; margin: how clear the choice was
Selection select_naively(const RouterSpec& spec,
                         const std::vector<float>& logits,
                         const std::vector<float>& bias,
                         double& margin) {
    const std::vector<double> s = scores(spec, logits);
    std::vector<double> c = s;
    for (std::size_t e = 0; e < bias.size(); ++e)
        c[e] += bias[e];
    const auto order_of = [](const std::vector<double>& values) {
        std::vector<std::size_t> order(values.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
        return order;
    };
    margin = 1e9;
    const auto group_size = c.size() / static_cast<std::size_t>(spec.num_groups);
    std::vector<double> group_scores;
    for (std::size_t g = 0; g < static_cast<std::size_t>(spec.num_groups); ++g) {
        std::vector<double> group(c.begin() + static_cast<long>(g * group_size),
                                  c.begin() + static_cast<long>((g + 1) * group_size));
        std::sort(group.rbegin(), group.rend());
        group_scores.push_back(spec.group_score == GroupScore::maximum ? group[0]
                                                                       : group[0] + group[1]);
    }
    const std::vector<std::size_t> groups = order_of(group_scores);
    const auto top_groups = static_cast<std::size_t>(spec.top_groups);
    if (top_groups < groups.size())
        margin = group_scores[groups[top_groups - 1]] - group_scores[groups[top_groups]];
    for (std::size_t i = top_groups; i < groups.size(); ++i)
        std::fill_n(c.begin() + static_cast<long>(groups[i] * group_size), group_size, -1e9);
    const std::vector<std::size_t> order = order_of(c);
    const auto k = static_cast<std::size_t>(spec.top_k);
    for (std::size_t j = 0; j < k && j + 1 < order.size(); ++j)
        margin = std::min(margin, c[order[j]] - c[order[j + 1]]);

    Selection selection;
    double sum = 0;
    for (std::size_t j = 0; j < k; ++j)
        sum += s[order[j]];
    for (std::size_t j = 0; j < k; ++j) {
        selection.expert_ids.push_back(static_cast<std::int32_t>(order[j]));
        selection.weights.push_back(
            static_cast<float>(s[order[j]] * spec.scale / (spec.normalize ? sum : 1)));
    }
    return selection;
}

std::vector<RouterSpec> specs() {
    std::vector<RouterSpec> all;
    for (const Preset& preset : presets())
        all.push_back(preset.model.router);
    all.push_back({.score_function = ScoreFunction::sqrtsoftplus,
                   .num_experts = 256,
                   .top_k = 6,
                   .has_bias = true,
                   .scale = 1.5F});
    all.push_back({.score_function = ScoreFunction::softmax,
                   .num_experts = 160,
                   .top_k = 6,
                   .num_groups = 8,
                   .top_groups = 3,
                   .group_score = GroupScore::maximum,
                   .normalize = false,
                   .scale = 16});
    all.push_back(
        {.score_function = ScoreFunction::none, .num_experts = 7, .top_k = 7, .normalize = false});
    all.push_back({.score_function = ScoreFunction::sigmoid, .num_experts = 896, .top_k = 16});
    return all;
}

}  // namespace

TEST_CASE("exp_f32 is within 2 ulp of the exact value") {
    for (double x = -87; x <= 88; x += 0.00137) {
        const auto argument = static_cast<float>(x);
        const double exact = std::exp(static_cast<double>(argument));
        const double ulp = std::nextafter(static_cast<float>(exact), 1e38F) - exact;
        REQUIRE(std::fabs(exp_f32(argument) - exact) <= 2 * std::fabs(ulp) + 1e-45);
    }
    CHECK(exp_f32(0.0F) == 1.0F);
    CHECK(exp_f32(-1e30F) == exp_f32(-87.0F));
    CHECK(exp_f32(1e30F) == exp_f32(88.0F));
}

TEST_CASE("select_experts agrees with sorting in double precision for every kind of router") {
    std::mt19937 generator(7);
    std::normal_distribution<float> normal;
    for (const RouterSpec& spec : specs())
        for (int trial = 0; trial < 300; ++trial) {
            std::vector<float> logits(spec.num_experts);
            for (float& logit : logits)
                logit = 2 * normal(generator);
            std::vector<float> bias;
            if (spec.has_bias)
                for (int e = 0; e < spec.num_experts; ++e)
                    bias.push_back(normal(generator) - 1);  // mostly negative
            double margin = 0;
            const Selection expected = select_naively(spec, logits, bias, margin);
            if (margin < 1e-6)
                continue;
            const Selection selection = select(spec, logits, bias);
            REQUIRE(selection.expert_ids == expected.expert_ids);
            for (std::size_t j = 0; j < expected.weights.size(); ++j)
                REQUIRE(selection.weights[j] == Approx(expected.weights[j]).epsilon(1e-5));
        }
}

TEST_CASE("the lowest expert id wins a tie") {
    RouterSpec spec = {.score_function = ScoreFunction::softmax, .num_experts = 6, .top_k = 3};
    CHECK(select(spec, {1, 1, 1, 1, 1, 1}).expert_ids == std::vector<std::int32_t>{0, 1, 2});
    CHECK(select(spec, {0, 2, 1, 2, 1, 2}).expert_ids == std::vector<std::int32_t>{1, 3, 5});
    CHECK(select(spec, {0, 1, 2, 1, 1, 0}).expert_ids == std::vector<std::int32_t>{2, 1, 3});
    spec = {.score_function = ScoreFunction::sigmoid,
            .num_experts = 8,
            .top_k = 2,
            .num_groups = 4,
            .top_groups = 2};
    CHECK(select(spec, {0, 0, 0, 0, 0, 0, 0, 0}).expert_ids == std::vector<std::int32_t>{0, 1});
    // groups {2,3} and {6,7} tie for the second place behind {4,5}
    CHECK(select(spec, {0, 0, 1, 1, 3, 2, 1, 1}).expert_ids == std::vector<std::int32_t>{4, 5});
}

TEST_CASE("groups that are not chosen stay out even where all biased scores are negative") {
    // group {0,1} has the best sum; masked with 0 instead of -infinity, experts of the other group
    // would beat it
    const RouterSpec spec = {.score_function = ScoreFunction::sigmoid,
                             .num_experts = 4,
                             .top_k = 2,
                             .has_bias = true,
                             .num_groups = 2,
                             .top_groups = 1};
    const Selection selection = select(spec, {0, 0, 0, 0}, {-0.9F, -1.0F, -2.0F, -3.0F});
    CHECK(selection.expert_ids == std::vector<std::int32_t>{0, 1});
    CHECK(selection.weights[0] == Approx(0.5));  // without the bias, and normalized
}

TEST_CASE("normalized weights sum to the scale") {
    const RouterSpec spec = find_preset("deepseek-r1").model.router;
    std::vector<float> logits(256);
    std::iota(logits.begin(), logits.end(), -100.0F);
    const Selection selection = select(spec, logits, std::vector<float>(256));
    CHECK(std::accumulate(selection.weights.begin(), selection.weights.end(), 0.0) ==
          Approx(2.5).epsilon(1e-6));
}

}  // namespace eplb::test_select_experts
