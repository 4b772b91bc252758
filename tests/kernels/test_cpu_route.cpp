#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_support.h"
#include "tests/test_support.h"

namespace eplb::test_cpu_route {

namespace {

using namespace eplb::test;

struct Router {
    Router(const RouterSpec& spec_, int hidden_, bool with_logit_bias, unsigned seed)
        : spec(spec_),
          hidden(hidden_),
          norm(random_values(static_cast<std::size_t>(hidden), seed)) {
        const auto num_experts = static_cast<std::size_t>(spec.num_experts);
        weight = random_values(num_experts * static_cast<std::size_t>(hidden), seed + 1);
        for (float& value : weight)
            value /= std::sqrt(static_cast<float>(hidden));
        if (with_logit_bias)
            logit_bias = random_values(num_experts, seed + 2);
        if (spec.has_bias)
            bias = random_values(num_experts, seed + 3);
    }

    Backend::RouterArguments arguments() const {
        return {.spec = &spec,
                .hidden_size = hidden,
                .norm = norm.data(),
                .epsilon = 1e-5F,
                .weight = weight.data(),
                .logit_bias = logit_bias.empty() ? nullptr : logit_bias.data(),
                .bias = bias.empty() ? nullptr : bias.data()};
    }

    RouterSpec spec;
    int hidden;
    std::vector<float> norm, weight, logit_bias, bias;
};

struct Routed {
    std::vector<float> normalized;
    std::vector<std::int32_t> expert_ids;
    std::vector<float> weights;
    std::vector<float> margins;

    bool operator==(const Routed&) const = default;
};

Routed route(Backend& backend, const Router& router, const std::vector<float>& hidden) {
    const auto num_tokens = hidden.size() / static_cast<std::size_t>(router.hidden);
    const auto top_k = static_cast<std::size_t>(router.spec.top_k);
    Routed routed = {std::vector<float>(hidden.size()),
                     std::vector<std::int32_t>(num_tokens * top_k),
                     std::vector<float>(num_tokens * top_k), std::vector<float>(num_tokens)};
    backend.route(router.arguments(), static_cast<int>(num_tokens), hidden.data(),
                  {.normalized = routed.normalized.data(),
                   .expert_ids = routed.expert_ids.data(),
                   .weights = routed.weights.data(),
                   .margins = routed.margins.data()});
    return routed;
}

Routed tokens_of(const Routed& all, const Router& router, int first, int count) {
    return {rows_of(all.normalized, first, count, router.hidden),
            rows_of(all.expert_ids, first, count, router.spec.top_k),
            rows_of(all.weights, first, count, router.spec.top_k),
            rows_of(all.margins, first, count, 1)};
}

// indices of the `count` largest values, the lowest index first on a tie
std::vector<int> largest(const std::vector<double>& values, int count) {
    std::vector<int> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return values[a] > values[b]; });
    order.resize(count);
    return order;
}

// how far the worst of `chosen` is before the best of the others
double gap(const std::vector<double>& values, const std::vector<int>& chosen) {
    double worst = std::numeric_limits<double>::infinity();
    double best = -worst;
    for (int i = 0; i < static_cast<int>(values.size()); ++i)
        if (std::find(chosen.begin(), chosen.end(), i) != chosen.end())
            worst = std::min(worst, values[i]);
        else
            best = std::max(best, values[i]);
    return worst - best;
}

// One token in double, against what route() made of it.
void check_token(const Router& router, const float* hidden, const Routed& token) {
    const RouterSpec& spec = router.spec;
    double square = 0;
    for (int d = 0; d < router.hidden; ++d)
        square += static_cast<double>(hidden[d]) * hidden[d];
    std::vector<double> x;
    for (int d = 0; d < router.hidden; ++d) {
        const auto i = static_cast<std::size_t>(d);
        x.push_back(hidden[d] / std::sqrt(square / router.hidden + 1e-5) * router.norm[i]);
        REQUIRE(token.normalized[i] == Approx(x[i]).epsilon(1e-5));
    }
    std::vector<double> score;
    std::vector<double> choice;
    for (int e = 0; e < spec.num_experts; ++e) {
        const auto i = static_cast<std::size_t>(e);
        double logit = router.logit_bias.empty() ? 0 : router.logit_bias[i];
        for (int d = 0; d < router.hidden; ++d)
            logit += x[d] * router.weight[e * router.hidden + d];
        score.push_back(spec.score_function == ScoreFunction::sigmoid ? 1 / (1 + std::exp(-logit))
                                                                      : logit);
        choice.push_back(score[i] + (spec.has_bias ? router.bias[i] : 0));
    }
    double margin = std::numeric_limits<double>::infinity();
    if (spec.top_groups < spec.num_groups) {
        const int group_size = spec.num_experts / spec.num_groups;
        std::vector<double> group_scores;
        for (int g = 0; g < spec.num_groups; ++g) {
            const std::vector<double> group(choice.begin() + g * group_size,
                                            choice.begin() + (g + 1) * group_size);
            const std::vector<int> best = largest(group, 2);
            group_scores.push_back(group[best[0]]);
            if (spec.group_score == GroupScore::top2_sum)
                group_scores.back() += group[best[1]];
        }
        const std::vector<int> kept = largest(group_scores, spec.top_groups);
        margin = gap(group_scores, kept);
        for (int e = 0; e < spec.num_experts; ++e)
            if (std::find(kept.begin(), kept.end(), e / group_size) == kept.end())
                choice[e] = -std::numeric_limits<double>::infinity();
    }
    const std::vector<int> chosen = largest(choice, spec.top_k);
    margin = std::min(margin, gap(choice, chosen));
    if (std::isinf(margin))
        REQUIRE(token.margins[0] == std::numeric_limits<float>::infinity());
    else
        REQUIRE(token.margins[0] == Approx(margin).epsilon(1e-4).margin(1e-5));
    if (margin < 1e-4)
        return;  // either choice is right
    std::vector<std::int32_t> ids(token.expert_ids);
    std::sort(ids.begin(), ids.end());
    std::vector<std::int32_t> expected(chosen.begin(), chosen.end());
    std::sort(expected.begin(), expected.end());
    REQUIRE(ids == expected);

    const auto share = [&](int e) {
        const double s = score[e];
        return spec.score_function == ScoreFunction::softmax ? std::exp(s) : s;
    };
    double sum = 0;
    if (!spec.normalize && spec.score_function == ScoreFunction::softmax)
        for (int e = 0; e < spec.num_experts; ++e)
            sum += share(e);
    else if (spec.normalize)
        for (const int e : chosen)
            sum += share(e);
    else
        sum = 1;
    for (std::size_t j = 0; j < token.weights.size(); ++j)
        REQUIRE(token.weights[j] ==
                Approx(share(token.expert_ids[j]) / sum * spec.scale).epsilon(2e-5));
}

const std::vector<RouterSpec> kSpecs = {
    {.score_function = ScoreFunction::softmax, .num_experts = 24, .top_k = 3},
    {.score_function = ScoreFunction::softmax, .num_experts = 1, .top_k = 1, .normalize = false},
    {.score_function = ScoreFunction::softmax, .num_experts = 2, .top_k = 1, .normalize = false},
    {.score_function = ScoreFunction::softmax, .num_experts = 33, .top_k = 33},
    {.score_function = ScoreFunction::softmax,
     .num_experts = 48,
     .top_k = 6,
     .num_groups = 8,
     .top_groups = 3,
     .group_score = GroupScore::maximum,
     .normalize = false,
     .scale = 16},
    {.score_function = ScoreFunction::sigmoid,
     .num_experts = 256,
     .top_k = 8,
     .has_bias = true,
     .num_groups = 8,
     .top_groups = 4,
     .scale = 2.5F},
    // all experts of the groups kept: margins are those of the groups
    {.score_function = ScoreFunction::sigmoid,
     .num_experts = 12,
     .top_k = 6,
     .has_bias = true,
     .num_groups = 4,
     .top_groups = 2},
    {.score_function = ScoreFunction::sigmoid, .num_experts = 97, .top_k = 2, .has_bias = true},
};

}  // namespace

TEST_CASE("route chooses, weighs and tells margins as sorting in double does") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    unsigned seed = 1;
    for (const RouterSpec& spec : kSpecs)
        for (const bool with_logit_bias : {false, true}) {
            const Router router(spec, 20, with_logit_bias, seed += 10);
            const std::vector<float> hidden = random_values(131 * 20, seed + 5);
            const Routed all = route(backend, router, hidden);
            CAPTURE(spec.num_experts, spec.top_k, spec.num_groups, with_logit_bias);
            for (int t = 0; t < 131; ++t)
                check_token(router, hidden.data() + t * 20, tokens_of(all, router, t, 1));
        }
}

TEST_CASE("route gives a token the same bits in any company, at any place, on any threads") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    for (const RouterSpec& spec : kSpecs)
        for (const int hidden_size : {1, 2, 9, 64, 2048}) {
            if (kSanitized && hidden_size > 64)
                continue;
            CAPTURE(spec.num_experts, hidden_size);
            const Router router(spec, hidden_size, true, 3);
            const std::vector<float> hidden =
                random_values(600 * static_cast<std::size_t>(hidden_size), 4);
            const Routed all = route(backend, router, hidden);
            REQUIRE(route(parallel, router, hidden) == all);
            for (const int count : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 513})
                for (const int first : {0, 1, 64, 600 - count}) {
                    if (first + count > 600)
                        continue;
                    const Routed some =
                        route(parallel, router, rows_of(hidden, first, count, hidden_size));
                    REQUIRE(some == tokens_of(all, router, first, count));
                }
        }
}

TEST_CASE("route needs no margins") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    const Router router(kSpecs[0], 20, false, 1);
    const std::vector<float> hidden = random_values(3 * 20, 2);
    const Routed expected = route(backend, router, hidden);
    Routed routed = expected;
    std::fill(routed.expert_ids.begin(), routed.expert_ids.end(), -1);
    backend.route(router.arguments(), 3, hidden.data(),
                  {.normalized = routed.normalized.data(),
                   .expert_ids = routed.expert_ids.data(),
                   .weights = routed.weights.data()});
    CHECK(routed == expected);
}

}  // namespace eplb::test_cpu_route
