#include <cmath>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/model/synthetic.h"
#include "tests/test_support.h"

namespace eplb::test_synthetic {

namespace {

// of few layers: to calibrate their routers takes longest
Preset small_preset(std::size_t num_layers) {
    Preset preset = find_preset("deepseek-r1");
    preset.model.layers.resize(num_layers);
    return preset;
}

}  // namespace

TEST_CASE("random numbers have the mean and variance they promise") {
    double sum = 0;
    double square = 0;
    double uniform = 0;
    constexpr int kCount = 200000;
    for (int i = 0; i < kCount; ++i) {
        const double x = normal_at(42, static_cast<unsigned>(i));
        sum += x;
        square += x * x;
        uniform += uniform_at(43, static_cast<unsigned>(i));
    }
    CHECK(sum / kCount == Approx(0).margin(0.01));
    CHECK(square / kCount == Approx(1).epsilon(0.02));
    CHECK(uniform / kCount == Approx(0.5).epsilon(0.01));
}

TEST_CASE("a synthetic model is the same for any number of threads and differs by seed") {
    ThreadPool one(1);
    ThreadPool three(3);
    const SyntheticModel a(small_preset(2), 5, one);
    const SyntheticModel b(small_preset(2), 5, three);
    const SyntheticModel c(small_preset(2), 6, one);
    for (int layer = 0; layer < 2; ++layer) {
        CHECK(a.router(layer).weight == b.router(layer).weight);
        CHECK(a.router(layer).bias == b.router(layer).bias);
        CHECK(a.router(layer).weight != c.router(layer).weight);
    }
    CHECK(a.router(0).weight != a.router(1).weight);
    std::vector<float> first(a.expert_shape().num_weights());
    std::vector<float> second = first;
    a.make_expert(1, 7, first);
    b.make_expert(1, 7, second);
    CHECK(first == second);
    a.make_expert(1, 8, second);
    CHECK(first != second);
}

TEST_CASE("hidden states depend on the token and the two before it") {
    ThreadPool threads(1);
    const SyntheticModel model(small_preset(1), 5, threads);
    const auto h = static_cast<std::size_t>(model.config().hidden_size);
    const auto state = [&](std::vector<std::int32_t> ids) {
        std::vector<float> hidden(ids.size() * h);
        model.embed(ids, hidden);
        return std::vector<float>(hidden.end() - static_cast<long>(h), hidden.end());
    };
    CHECK(state({1, 2, 3, 4}) == state({9, 2, 3, 4}));
    CHECK(state({1, 2, 3, 4}) != state({1, 9, 3, 4}));
    CHECK(state({1, 2, 3, 4}) != state({1, 2, 3, 12}));
    double square = 0;
    for (const float x : state({1, 2, 3, 4}))
        square += static_cast<double>(x) * x;
    CHECK(square / static_cast<double>(h) == Approx(1).epsilon(0.3));
}

TEST_CASE("synthetic traffic stays in the vocabulary, repeats itself and drifts") {
    const SyntheticTraffic traffic(1000, 3);
    std::vector<std::int32_t> tokens(5000);
    std::vector<std::vector<double>> shares;
    for (const std::int64_t iteration : {0, 10}) {
        traffic.make_tokens(iteration, 4, tokens);
        std::vector<double> share(SyntheticModel::kNumTopics);
        for (const std::int32_t id : tokens) {
            REQUIRE(id >= 0);
            REQUIRE(id < 1000);
            share[SyntheticModel::topic(id)] += 1.0 / 5000;
        }
        shares.push_back(share);
    }
    double drift = 0;
    for (std::size_t topic = 0; topic < shares[0].size(); ++topic)
        drift += std::fabs(shares[1][topic] - shares[0][topic]);
    CHECK(drift > 0.1);
    std::vector<std::int32_t> again(5000);
    traffic.make_tokens(10, 4, again);
    CHECK(again == tokens);
    traffic.make_tokens(10, 5, again);
    CHECK(again != tokens);
}

TEST_CASE("presets are found by name, and an unknown name lists them") {
    for (const Preset& preset : presets()) {
        CHECK(find_preset(preset.model.name).model.layers == preset.model.layers);
        CHECK(preset.model.router.num_experts % preset.skew_ranks == 0);
        CHECK(preset.model.router.num_experts % preset.default_ep_size == 0);
    }
    const Preset& r1 = find_preset("deepseek-r1");
    CHECK(r1.model.layers.front() == 3);
    CHECK(r1.model.layers.back() == 60);
    CHECK(r1.model.router.num_experts == 256);
    CHECK(r1.model.router.top_groups == 4);
    const std::string error = test::error_of([] { find_preset("gpt-5"); });
    CHECK(error.find("gpt-5") != std::string::npos);
    CHECK(error.find("mixtral-8x7b") != std::string::npos);
}

}  // namespace eplb::test_synthetic
