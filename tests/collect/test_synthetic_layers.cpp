#include <numeric>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/direct_check.h"
#include "lib/collect/token_source.h"
#include "tests/collect/runs.h"
#include "tests/test_support.h"

namespace eplb::test_synthetic_layers {

TEST_CASE("outputs agree with a direct evaluation of every token") {
    struct Way {
        const char* preset;
        LoopOrder order;
        int num_devices;
    };
    for (const Way& way : {Way{"deepseek-r1", LoopOrder::by_iteration, 4},
                           {"qwen3-30b-a3b", LoopOrder::by_layer, 1},
                           {"deepseek-v2-lite", LoopOrder::by_iteration, 1}}) {
        const test::PresetModel model(test::small_preset(way.preset));
        const MoeModelConfig& moe = model.moe();
        const test::Run run =
            test::run(model, test::traffic_schedule(moe, 8, 37, 3),
                      {.ep_size = 8,
                       .config = test::shuffled_config(moe, moe.router.num_experts + 8, 2),
                       .num_devices = way.num_devices,
                       .order = way.order});
        CHECK(run.num_moved_slots > 0);
        ThreadPool threads(2);
        DirectCheck check(model.model(), threads);
        for (std::size_t i = 0; i < moe.layers.size(); ++i)
            check.check({run.layers[i], run.input[i], run.output[i], run.expert_ids[i]});
        CHECK(check.num_tokens() == 3 * 4 * 8 * 37);
        CHECK(check.num_near_ties() < check.num_tokens() / 100);
        CHECK(check.largest_difference() < 1e-4);
        CHECK(check.largest_difference() > 0);
    }
}

TEST_CASE("the direct evaluation notices a wrong output and a wrong expert") {
    const test::PresetModel model(test::small_preset());
    const test::Run run =
        test::run(model, test::traffic_schedule(model.moe(), 1, 4, 1), {.ep_size = 1});
    ThreadPool threads(2);
    for (std::size_t i = 0; i < run.layers.size(); ++i) {
        DirectCheck check(model.model(), threads);
        std::vector<float> output = run.output[i];
        output[5] += 0.01F;
        const std::string output_error = test::error_of([&] {
            check.check({run.layers[i], run.input[i], output, run.expert_ids[i]});
        });
        std::vector<std::int32_t> ids = run.expert_ids[i];
        ids[3] = (ids[3] + 1) % 256;
        const std::string expert_error = test::error_of([&] {
            check.check({run.layers[i], run.input[i], run.output[i], ids});
        });
        CHECK(output_error.find("token 0: differs from a direct evaluation") != std::string::npos);
        CHECK(expert_error.find("token 0: was routed to other experts") != std::string::npos);
    }
}

TEST_CASE("online balancing brings the imbalance down during the run") {
    const test::PresetModel model(test::small_preset());
    // a cycle of 3 iterations
    const test::Run run = test::run(
        model, test::traffic_schedule(model.moe(), 8, 37, 9),
        {.ep_size = 8, .config = test::default_config(288, 2), .order = LoopOrder::by_iteration});
    const auto average = [&](int iteration) {
        return std::accumulate(run.imbalance[iteration].begin(), run.imbalance[iteration].end(),
                               0.0) /
               4;
    };
    CHECK(average(8) < average(0) / 2);
}

// the published table (TensorRT-LLM, blog 4): 32 ranks x 128 tokens, layers from 0.46 to 2.46, on
// average 1.56
TEST_CASE("the DeepSeek-R1 preset, default seed, is as imbalanced as the real model", "[quality]") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const SyntheticModel model(find_preset("deepseek-r1"), 0, threads);
    const LoopOrder order = LoopOrder::by_iteration;
    const ExpertLayout layout = lay_out_experts(model.config(), 32, {}, 1, order);
    SyntheticLayers source(model, layout, backend, nullptr, threads);
    Collector collector(source, layout, {.order = order}, backend);
    SyntheticTokens tokens(SyntheticTraffic(model.config().vocab_size, 0), 32, 128);
    std::vector<double> layers;
    collector.run(*tokens.next(),
                  [&](const BatchCounts& counts) { layers = counts.rank_imbalance(0); });
    REQUIRE(layers.size() == 58);
    for (const double layer : layers) {
        CHECK(layer > 0.4);
        CHECK(layer < 2.5);
    }
    const double average = std::accumulate(layers.begin(), layers.end(), 0.0) / 58;
    CHECK(average > 1.4);
    CHECK(average < 1.7);
}

}  // namespace eplb::test_synthetic_layers
