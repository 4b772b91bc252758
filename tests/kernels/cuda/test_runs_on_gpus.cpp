#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/cluster/thread_group.h"
#include "lib/collect/checkpoint_layers.h"
#include "lib/collect/collector.h"
#include "lib/collect/synthetic_layers.h"
#include "lib/collect/token_source.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_runs_on_gpus {

// Whole runs, on one GPU and on several with NCCL between them, against the CPU: the counts are
// equal. A token whose choice hangs on the last bits may go either way, so that inputs without such
// near-ties are taken.

using namespace eplb::test;

namespace {

// body(device, its GPU, the others or null) in a thread for each GPU
template <typename Body>
void on_gpus(int num_devices, const Body& body) {
    if (num_devices == 1) {
        const std::unique_ptr<Backend> gpu = make_gpu();
        body(0, *gpu, nullptr, nullptr);
        return;
    }
    ThreadGroup shared(num_devices);
    std::vector<std::exception_ptr> errors(num_devices);
    std::vector<std::thread> threads;
    for (int device = 0; device < num_devices; ++device)
        threads.emplace_back([&, device] {
            try {
                const std::unique_ptr<ProcessGroup> group = shared.member(device);
                const std::unique_ptr<Backend> gpu =
                    make_gpu(ProductPrecision::fp32, std::size_t{1} << 24, device);
                const std::unique_ptr<Communicator> communicator =
                    make_gpu_communicator(*gpu, *group);
                body(device, *gpu, communicator.get(), group.get());
            } catch (...) {
                errors[device] = std::current_exception();
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    for (const std::exception_ptr& error : errors)
        if (error)
            std::rethrow_exception(error);
}

struct Run {
    int ep_size;
    LoopOrder order;
    Decoder::Limits limits;
    int num_slots;  // of online EPLB; 0: none

    ExpertLayout layout(const MoeModelConfig& model, int num_devices) const {
        std::optional<EplbConfig> config;
        if (num_slots > 0) {
            config.emplace();
            config->num_slots = num_slots;
            config->layer_updates_per_iter = 1;
        }
        return lay_out_experts(model, ep_size, config, num_devices, order);
    }
};

using MakeSource = std::function<std::unique_ptr<LayerSource>(
    const ExpertLayout&, int device, Backend&, Communicator*, ThreadPool&)>;

// What a device counts, batch after batch.
std::vector<ExpertStatistics> count(LayerSource& source,
                                    const ExpertLayout& layout,
                                    const Run& run,
                                    const std::vector<TokenSchedule>& schedules,
                                    Backend& backend,
                                    Communicator* communicator,
                                    ProcessGroup* group) {
    Collector collector(
        source, layout,
        {.order = run.order, .limits = run.limits, .communicator = communicator, .group = group},
        backend);
    std::vector<ExpertStatistics> counted;
    for (const TokenSchedule& schedule : schedules)
        collector.run(schedule, [&](BatchCounts& counts) {
            counted.push_back(std::move(counts.statistics));
        });
    return counted;
}

// Every device counts its ranks' tokens as the CPU does.
void check_run(const Run& run,
               const MoeModelConfig& model,
               const std::vector<TokenSchedule>& schedules,
               int num_devices,
               const MakeSource& make_source) {
    ThreadPool threads(2);
    CpuBackend cpu(threads);
    const ExpertLayout one_device = run.layout(model, 1);
    const auto expected = count(*make_source(one_device, 0, cpu, nullptr, threads), one_device, run,
                                schedules, cpu, nullptr, nullptr);
    const ExpertLayout layout = run.layout(model, num_devices);
    std::vector<std::vector<ExpertStatistics>> parts(num_devices);
    on_gpus(num_devices,
            [&](int device, Backend& gpu, Communicator* communicator, ProcessGroup* group) {
                ThreadPool one_thread(1);
                const auto source = make_source(layout, device, gpu, communicator, one_thread);
                parts[device] = count(*source, layout, run, schedules, gpu, communicator, group);
            });
    const int num_ranks = run.ep_size / num_devices;
    for (int device = 0; device < num_devices; ++device) {
        REQUIRE(parts[device].size() == expected.size());
        for (std::size_t batch = 0; batch < expected.size(); ++batch) {
            const ExpertStatistics& all = expected[batch];
            const ExpertStatistics& part = parts[device][batch];
            REQUIRE(part.num_iterations == all.num_iterations);
            for (int i = 0; i < all.num_iterations; ++i)
                for (int layer = 0; layer < all.num_layers(); ++layer)
                    for (int rank = 0; rank < num_ranks; ++rank) {
                        const auto found = part.row(i, layer, rank);
                        const auto row = all.row(i, layer, device * num_ranks + rank);
                        REQUIRE(std::equal(found.begin(), found.end(), row.begin(), row.end()));
                    }
        }
    }
}

Preset small_preset(const std::string& name) {
    Preset preset = find_preset(name);
    preset.model.layers.resize(2);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 8;
    preset.model.shared_intermediate_size = preset.model.shared_intermediate_size > 0 ? 8 : 0;
    return preset;
}

}  // namespace

TEST_CASE("a preset on GPUs is counted as on the CPU") {
    constexpr int kEpSize = 4;
    struct Case {
        const char* preset;
        int num_slots;
        int expert_tokens;
        int num_devices;
    };
    for (const Case& c : {Case{"deepseek-r1", 0, 100, 1},
                          {"deepseek-r1", 264, 7, 2},
                          {"mixtral-8x7b", 0, 7, 2},
                          {"mixtral-8x7b", 12, 100, 1},
                          {"mixtral-8x7b", 12, 7, 2},
                          {"mixtral-8x7b", 12, 100, 4}}) {
        if (c.num_devices > num_test_gpus() || (kSanitized && c.num_slots == 0))
            continue;
        INFO(c.preset << ", devices " << c.num_devices << ", expert_tokens " << c.expert_tokens
                      << ", slots " << c.num_slots);
        ThreadPool threads(2);
        const SyntheticModel model(small_preset(c.preset), 1, threads);
        SyntheticTokens tokens(SyntheticTraffic(model.config().vocab_size, 1), kEpSize, 5);
        const std::vector<TokenSchedule> schedules = {*tokens.next(), *tokens.next()};
        const Run run = {.ep_size = kEpSize,
                         .order = LoopOrder::by_iteration,
                         .limits = {.expert_tokens = c.expert_tokens},
                         .num_slots = c.num_slots};
        check_run(run, model.config(), schedules, c.num_devices,
                  [&](const ExpertLayout& layout, int, Backend& backend, Communicator* communicator,
                      ThreadPool& own_threads) {
                      return std::make_unique<SyntheticLayers>(model, layout, backend, communicator,
                                                               own_threads);
                  });
    }
}

TEST_CASE("a checkpoint's layers on GPUs route as on the CPU") {
    struct Case {
        const char* model;
        int num_devices;
        LoopOrder order;
        int num_slots = 0;
    };
    for (const Case& c : {Case{"deepseek_v3_fp8", 1, LoopOrder::by_layer},
                          {"gpt_oss", 2, LoopOrder::by_layer},
                          {"qwen2_moe", 1, LoopOrder::by_iteration},
                          {"qwen2_moe", 2, LoopOrder::by_iteration, 16},
                          {"olmoe", 4, LoopOrder::by_layer},
                          {"olmoe", 2, LoopOrder::by_layer, 16}}) {
        if (c.num_devices > num_test_gpus())
            continue;
        INFO(c.model << ", devices " << c.num_devices << ", slots " << c.num_slots);
        const DecoderConfig config = read_decoder_config(model_folder(c.model));
        const Checkpoint checkpoint(model_folder(c.model));
        std::vector<Request> requests;
        for (int i = 0; i < 5; ++i) {
            Request request;
            for (int t = 0; t < 3 + 2 * i; ++t)
                request.input_ids.push_back((7 * i + 3 * t * t + t) % config.moe.vocab_size);
            requests.push_back(request);
        }
        const Run run = {.ep_size = 4,
                         .order = c.order,
                         .limits = {.attention_tokens = 11, .expert_tokens = 13},
                         .num_slots = c.num_slots};
        check_run(run, config.moe,
                  {make_schedule(requests, {.ep_size = run.ep_size, .tokens_per_rank = 8})},
                  c.num_devices,
                  [&](const ExpertLayout& layout, int device, Backend& backend, Communicator*,
                      ThreadPool&) {
                      return std::make_unique<CheckpointLayers>(config, checkpoint, layout, device,
                                                                run.order, backend);
                  });
    }
}

}  // namespace eplb::test_runs_on_gpus
