#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "lib/collect/direct_check.h"
#include "lib/collect/harness.h"
#include "tests/collect/device_threads.h"
#include "tests/test_support.h"

using namespace eplb;

namespace {

constexpr int kEpSize = 8;
constexpr int kTokensPerRank = 37;

Preset small_preset(const std::string& name = "deepseek-r1") {
    Preset preset = find_preset(name);
    preset.model.layers.resize(4);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 8;
    preset.model.shared_intermediate_size = preset.model.shared_intermediate_size > 0 ? 8 : 0;
    return preset;
}

// a placement with replicas, shuffled, different in every layer
EplbConfig random_config(const MoeModelConfig& model, int num_slots, int layer_updates_per_iter) {
    EplbConfig config;
    config.num_slots = num_slots;
    config.layer_updates_per_iter = layer_updates_per_iter;
    std::mt19937 generator(3);
    for (const int layer : model.layers) {
        std::vector<int> expert_ids(num_slots);
        for (std::size_t slot = 0; slot < expert_ids.size(); ++slot)
            expert_ids[slot] = slot < static_cast<std::size_t>(model.router.num_experts)
                                   ? static_cast<int>(slot)
                                   : static_cast<int>(generator() % 5);
        std::shuffle(expert_ids.begin(), expert_ids.end(), generator);
        config.initial_global_assignments[layer] = expert_ids;
    }
    return config;
}

struct Run {
    std::vector<float> hidden;                // after the last layer of the last iteration
    std::vector<std::int64_t> expert_counts;  // [iteration][layer][rank][expert]
    std::vector<std::int64_t> slot_counts;    // [iteration][layer][rank][slot]
    std::vector<double> imbalance;            // [iteration], over layers
    std::size_t buffer_bytes = 0;
};

Run run(const SyntheticModel& model,
        const Harness::Options& options,
        int num_threads,
        int num_iterations) {
    ThreadPool threads(num_threads);
    CpuBackend backend(threads);
    Harness harness(model, options, backend, threads);
    SyntheticTokens source(SyntheticTraffic(model.config().vocab_size, 1), options.ep_size,
                           kTokensPerRank);
    const auto num_experts = static_cast<std::size_t>(model.config().router.num_experts);
    Run result;
    for (int iteration = 0; iteration < num_iterations; ++iteration) {
        std::vector<std::vector<int>> experts_of;
        for (int layer = 0; layer < model.config().num_layers(); ++layer)
            experts_of.push_back(harness.layer_slots(layer).placement().expert_ids);
        const IterationCounts& counts =
            harness.run(iteration, source.next(), [&](const Harness::LayerTrace& trace) {
                result.hidden.assign(trace.output.begin(), trace.output.end());
            });
        result.slot_counts.insert(result.slot_counts.end(), counts.counts.begin(),
                                  counts.counts.end());
        const auto num_slots = static_cast<std::size_t>(counts.num_slots);
        const auto num_ranks = static_cast<std::size_t>(counts.num_ranks);
        for (std::size_t row = 0; row < counts.counts.size() / num_slots; ++row) {
            std::vector<std::int64_t> experts(num_experts);
            for (std::size_t slot = 0; slot < num_slots; ++slot)
                experts[experts_of[row / num_ranks][slot]] += counts.counts[row * num_slots + slot];
            result.expert_counts.insert(result.expert_counts.end(), experts.begin(), experts.end());
        }
        const std::vector<double> imbalance = counts.rank_imbalance();
        result.imbalance.push_back(std::accumulate(imbalance.begin(), imbalance.end(), 0.0) /
                                   static_cast<double>(imbalance.size()));
    }
    result.buffer_bytes = harness.peak_expert_buffer_bytes();
    return result;
}

}  // namespace

TEST_CASE("EPLB, chunks and threads change neither a bit of the outputs nor an expert's count") {
    for (const char* const name : {"deepseek-r1", "mixtral-8x7b", "deepseek-v2-lite"}) {
        ThreadPool threads(2);
        const SyntheticModel model(small_preset(name), 1, threads);
        const int num_experts = model.config().router.num_experts;
        const Run plain = run(model, {.ep_size = kEpSize, .config = {}}, 1, 5);
        const EplbConfig fixed = random_config(model.config(), num_experts + 24, 0);
        const EplbConfig online = random_config(model.config(), num_experts + 24, 3);
        EplbConfig online_default;
        online_default.num_slots = num_experts + 8;
        online_default.layer_updates_per_iter = 4;
        for (const std::optional<EplbConfig>& config :
             {std::optional<EplbConfig>(), {fixed}, {online}, {online_default}}) {
            std::vector<std::int64_t> slot_counts;
            for (const int max_num_tokens : {0, 100, 7})
                for (const int num_threads : {1, 3}) {
                    const Run other = run(
                        model,
                        {.ep_size = kEpSize, .max_num_tokens = max_num_tokens, .config = config},
                        num_threads, 5);
                    INFO(name << " max_num_tokens " << max_num_tokens << " threads "
                              << num_threads);
                    REQUIRE(other.hidden == plain.hidden);
                    REQUIRE(other.expert_counts == plain.expert_counts);
                    if (slot_counts.empty())
                        slot_counts = other.slot_counts;
                    REQUIRE(other.slot_counts == slot_counts);
                }
        }
    }
}

TEST_CASE("the number of devices changes neither a bit of the outputs nor a count") {
    for (const char* const name : {"deepseek-r1", "mixtral-8x7b", "deepseek-v2-lite"}) {
        ThreadPool threads(2);
        const SyntheticModel model(small_preset(name), 1, threads);
        const int num_experts = model.config().router.num_experts;
        EplbConfig online_default;
        online_default.num_slots = num_experts + 8;
        online_default.layer_updates_per_iter = 4;
        for (const std::optional<EplbConfig>& config :
             {std::optional<EplbConfig>(),
              {random_config(model.config(), num_experts + 24, 0)},
              {random_config(model.config(), num_experts + 24, 3)},
              {online_default}}) {
            for (const int max_num_tokens : {0, 50}) {
                const Harness::Options options = {
                    .ep_size = kEpSize, .max_num_tokens = max_num_tokens, .config = config};
                const Run one = run(model, options, 1, 5);
                for (const int num_devices : {1, 2, 8}) {
                    INFO(name << " max_num_tokens " << max_num_tokens << " devices "
                              << num_devices);
                    std::vector<Run> parts(num_devices);
                    test::on_devices(num_devices,
                                     [&](int device, ProcessGroup&, Communicator& communicator) {
                                         Harness::Options own = options;
                                         own.communicator = &communicator;
                                         parts[device] = run(model, own, 1, 5);
                                     });
                    // a device has the rows of its ranks
                    const auto rows_of = [&](std::size_t row) {
                        const std::size_t ranks = kEpSize / parts.size();
                        const std::size_t rank = row % kEpSize;
                        return std::pair(&parts[rank / ranks],
                                         row / kEpSize * ranks + rank % ranks);
                    };
                    const auto num_slots =
                        static_cast<std::size_t>(config ? config->num_slots : num_experts);
                    const std::size_t num_rows = one.slot_counts.size() / num_slots;
                    REQUIRE(num_rows == 5 * 4 * kEpSize);
                    for (std::size_t row = 0; row < num_rows; ++row) {
                        const auto [part, part_row] = rows_of(row);
                        REQUIRE(std::equal(
                            one.slot_counts.begin() + static_cast<long>(row * num_slots),
                            one.slot_counts.begin() + static_cast<long>((row + 1) * num_slots),
                            part->slot_counts.begin() + static_cast<long>(part_row * num_slots)));
                    }
                    std::vector<float> hidden;
                    for (const Run& part : parts) {
                        hidden.insert(hidden.end(), part.hidden.begin(), part.hidden.end());
                        REQUIRE(part.imbalance == one.imbalance);
                    }
                    REQUIRE(hidden == one.hidden);
                }
            }
        }
    }
}

TEST_CASE("ranks that cannot be dealt out to the devices are refused") {
    ThreadPool threads(1);
    const SyntheticModel model(small_preset(), 1, threads);
    const std::string error = test::error_of([&] {
        test::on_devices(3, [&](int, ProcessGroup&, Communicator& communicator) {
            run(model, {.ep_size = kEpSize, .config = {}, .communicator = &communicator}, 1, 1);
        });
    });
    CHECK(error == "--ep_size 8 cannot be dealt out to 3 devices; start as many as divide it");
}

TEST_CASE("every rank's tokens are counted top_k times in every layer") {
    ThreadPool threads(2);
    const SyntheticModel model(small_preset(), 1, threads);
    const Run plain = run(model, {.ep_size = kEpSize, .config = {}}, 2, 2);
    for (std::size_t row = 0; row < plain.expert_counts.size() / 256; ++row)
        REQUIRE(std::accumulate(plain.expert_counts.begin() + static_cast<long>(row * 256),
                                plain.expert_counts.begin() + static_cast<long>((row + 1) * 256),
                                std::int64_t{0}) == kTokensPerRank * 8);
}

TEST_CASE("slot counts are what upstream's round robin makes of the expert counts") {
    // 37 tokens x 8 ids are one block: replica j of R gets #{m < n: (m + rank) mod R == j}
    ThreadPool threads(2);
    const SyntheticModel model(small_preset(), 1, threads);
    const EplbConfig config = random_config(model.config(), 280, 0);
    const Run result = run(model, {.ep_size = kEpSize, .config = config}, 2, 2);
    for (std::size_t row = 0; row < result.slot_counts.size() / 280; ++row) {
        const std::size_t rank = row % kEpSize;
        const std::size_t layer = row / kEpSize % 4;
        const std::vector<int>& expert_ids =
            config.initial_global_assignments.at(model.config().layers[layer]);
        std::vector<int> seen(256);
        const std::vector<int> replicas = replica_counts(expert_ids, 256);
        for (std::size_t slot = 0; slot < 280; ++slot) {
            const auto expert = static_cast<std::size_t>(expert_ids[slot]);
            const int j = seen[expert]++;
            std::int64_t expected = 0;
            for (std::int64_t m = 0; m < result.expert_counts[row * 256 + expert]; ++m)
                expected += (m + static_cast<int>(rank)) % replicas[expert] == j ? 1 : 0;
            REQUIRE(result.slot_counts[row * 280 + slot] == expected);
        }
    }
}

TEST_CASE("outputs agree with a direct evaluation of every token") {
    for (const char* const name : {"deepseek-r1", "qwen3-30b-a3b", "deepseek-v2-lite"}) {
        ThreadPool threads(2);
        CpuBackend backend(threads);
        const SyntheticModel model(small_preset(name), 1, threads);
        const EplbConfig config =
            random_config(model.config(), model.config().router.num_experts + 8, 2);
        Harness harness(model, {.ep_size = kEpSize, .config = config}, backend, threads);
        SyntheticTokens source(SyntheticTraffic(model.config().vocab_size, 1), kEpSize,
                               kTokensPerRank);
        DirectCheck check(model, threads);
        for (int iteration = 0; iteration < 3; ++iteration)
            harness.run(iteration, source.next(),
                        [&](const Harness::LayerTrace& trace) { check.check(trace); });
        CHECK(check.num_tokens() == 3 * 4 * kEpSize * kTokensPerRank);
        CHECK(check.num_near_ties() < check.num_tokens() / 100);
        CHECK(check.largest_difference() < 1e-4);
        CHECK(check.largest_difference() > 0);
    }
}

TEST_CASE("the direct evaluation notices a wrong output and a wrong expert") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const SyntheticModel model(small_preset(), 1, threads);
    Harness harness(model, {.ep_size = 1, .config = {}}, backend, threads);
    SyntheticTokens source(SyntheticTraffic(model.config().vocab_size, 1), 1, 4);
    std::string output_error;
    std::string expert_error;
    harness.run(0, source.next(), [&](const Harness::LayerTrace& trace) {
        DirectCheck check(model, threads);
        std::vector<float> output(trace.output.begin(), trace.output.end());
        output[5] += 0.01F;
        output_error = test::error_of([&] {
            check.check({trace.layer, trace.input, output, trace.expert_ids});
        });
        std::vector<std::int32_t> ids(trace.expert_ids.begin(), trace.expert_ids.end());
        ids[3] = (ids[3] + 1) % 256;
        expert_error = test::error_of([&] {
            check.check({trace.layer, trace.input, trace.output, ids});
        });
    });
    CHECK(output_error.find("token 0: differs from a direct evaluation") != std::string::npos);
    CHECK(expert_error.find("token 0: was routed to other experts") != std::string::npos);
}

TEST_CASE("online balancing brings the imbalance down during the run") {
    ThreadPool threads(2);
    const SyntheticModel model(small_preset(), 1, threads);
    EplbConfig config;
    config.num_slots = 288;
    config.layer_updates_per_iter = 2;  // a cycle of 3 iterations
    const Run result = run(model, {.ep_size = kEpSize, .config = config}, 2, 9);
    CHECK(result.imbalance[8] < result.imbalance[0] / 2);
}

TEST_CASE("max_num_tokens bounds the expert buffers") {
    ThreadPool threads(2);
    const SyntheticModel model(small_preset(), 1, threads);
    const Run whole = run(model, {.ep_size = kEpSize, .config = {}}, 2, 1);
    const Run chunked = run(model, {.ep_size = kEpSize, .max_num_tokens = 40, .config = {}}, 2, 1);
    CHECK(chunked.buffer_bytes * 5 < whole.buffer_bytes);
}

TEST_CASE("ranks without tokens take part") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const SyntheticModel model(small_preset(), 1, threads);
    Harness harness(model, {.ep_size = 4, .max_num_tokens = 2, .config = {}}, backend, threads);
    DatasetTokens source({{{1, 2, 3}, {}}, {}, {{4}, {}}}, 4, 8);
    const IterationCounts& counts = harness.run(0, source.next());
    CHECK(std::accumulate(counts.counts.begin(), counts.counts.end(), std::int64_t{0}) ==
          4 * 4 * 8);
}

TEST_CASE("a config that does not fit the model is refused with the reason") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    const SyntheticModel model(small_preset(), 1, threads);
    const auto error_of = [&](const Harness::Options& options) {
        return test::error_of([&] { Harness(model, options, backend, threads); });
    };
    CHECK(error_of({.ep_size = 36, .config = {}}).find("256 experts on 36 ranks") == 0);
    EplbConfig config = random_config(model.config(), 280, 0);
    CHECK(error_of({.ep_size = 36, .config = config}).find("280 slots on 36 ranks") == 0);
    config.initial_global_assignments.erase(model.config().layers[2]);
    CHECK(error_of({.ep_size = 8, .config = config}).find("layer 5: has no assignment") !=
          std::string::npos);
    config = random_config(model.config(), 280, 0);
    config.initial_global_assignments[4].push_back(3);
    CHECK(error_of({.ep_size = 8, .config = config}).find("layer 4: 281 entries") !=
          std::string::npos);
    config = random_config(model.config(), 280, 0);
    for (int& expert : config.initial_global_assignments[4])
        expert = expert == 17 ? 0 : expert;
    CHECK(error_of({.ep_size = 8, .config = config}).find("layer 4: expert 17 stands in no slot") !=
          std::string::npos);
    config.initial_global_assignments[4][0] = 256;
    CHECK(error_of({.ep_size = 8, .config = config}).find("layer 4: ") != std::string::npos);
    EplbConfig few;
    few.num_slots = 128;
    CHECK(error_of({.ep_size = 8, .config = few}).find("below the model's 256 experts") !=
          std::string::npos);
}

// the published table (TensorRT-LLM, blog 4): 32 ranks x 128 tokens, layers from 0.46 to 2.46, on
// average 1.56
TEST_CASE("the DeepSeek-R1 preset, default seed, is as imbalanced as the real model") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const SyntheticModel model(find_preset("deepseek-r1"), 0, threads);
    Harness harness(model, {.ep_size = 32, .config = {}}, backend, threads);
    SyntheticTokens source(SyntheticTraffic(model.config().vocab_size, 0), 32, 128);
    std::vector<double> layers(58);
    constexpr int kNumIterations = 3;
    for (int iteration = 0; iteration < kNumIterations; ++iteration) {
        const std::vector<double> imbalance =
            harness.run(iteration, source.next()).rank_imbalance();
        for (std::size_t i = 0; i < layers.size(); ++i)
            layers[i] += imbalance[i] / kNumIterations;
    }
    for (const double layer : layers) {
        CHECK(layer > 0.4);
        CHECK(layer < 2.5);
    }
    const double average = std::accumulate(layers.begin(), layers.end(), 0.0) / 58;
    CHECK(average > 1.4);
    CHECK(average < 1.7);
}
