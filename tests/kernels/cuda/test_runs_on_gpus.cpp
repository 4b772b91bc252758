#include <memory>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/cluster/thread_group.h"
#include "lib/collect/checkpoint_run.h"
#include "lib/collect/dataset.h"
#include "lib/collect/harness.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

// Whole runs, on one GPU and on several with NCCL between them, against the CPU: the counts are
// equal. A token whose choice hangs on the last bits may go either way, so that inputs without such
// near-ties are taken.

using namespace eplb;
using namespace eplb::test;

namespace {

constexpr int kEpSize = 4;

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

Preset small_preset(const std::string& name) {
    Preset preset = find_preset(name);
    preset.model.layers.resize(2);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 8;
    preset.model.shared_intermediate_size = preset.model.shared_intermediate_size > 0 ? 8 : 0;
    return preset;
}

// counts [iteration][layer][rank][slot], of the ranks of one device
std::vector<std::vector<std::int64_t>> run_preset(const SyntheticModel& model,
                                                  Harness::Options options,
                                                  Backend& backend) {
    ThreadPool threads(1);
    Harness harness(model, options, backend, threads);
    SyntheticTokens source(SyntheticTraffic(model.config().vocab_size, 1), kEpSize, 9);
    std::vector<std::vector<std::int64_t>> counts;
    for (int iteration = 0; iteration < 3; ++iteration)
        counts.push_back(harness.run(iteration, source.next()).counts);
    return counts;
}

}  // namespace

TEST_CASE("a preset on GPUs is counted as on the CPU") {
    struct Case {
        const char* preset;
        int num_slots;  // of online EPLB; 0: none
        int max_num_tokens;
        int num_devices;
    };
    for (const Case& c : {Case{"deepseek-r1", 0, 0, 1},
                          {"deepseek-r1", 264, 17, 2},
                          {"mixtral-8x7b", 0, 17, 2},
                          {"mixtral-8x7b", 12, 0, 1},
                          {"mixtral-8x7b", 12, 17, 2},
                          {"mixtral-8x7b", 12, 0, 4}}) {
        if (c.num_devices > num_test_gpus())
            continue;
        INFO(c.preset << ", devices " << c.num_devices << ", max_num_tokens " << c.max_num_tokens
                      << ", slots " << c.num_slots);
        ThreadPool threads(2);
        const SyntheticModel model(small_preset(c.preset), 1, threads);
        Harness::Options options;
        options.ep_size = kEpSize;
        options.max_num_tokens = c.max_num_tokens;
        if (c.num_slots > 0) {
            options.config.emplace();
            options.config->num_slots = c.num_slots;
            options.config->layer_updates_per_iter = 1;
        }
        CpuBackend cpu(threads);
        const auto expected = run_preset(model, options, cpu);
        std::vector<std::vector<std::vector<std::int64_t>>> parts(
            static_cast<std::size_t>(c.num_devices));
        on_gpus(c.num_devices,
                [&](int device, Backend& gpu, Communicator* communicator, ProcessGroup*) {
                    Harness::Options own = options;
                    own.communicator = communicator;
                    parts[device] = run_preset(model, own, gpu);
                });
        // a device has the rows of its ranks, layer by layer
        const auto num_slots = static_cast<std::size_t>(
            c.num_slots > 0 ? c.num_slots : model.config().router.num_experts);
        const std::size_t row = kEpSize / parts.size() * num_slots;
        for (std::size_t iteration = 0; iteration < expected.size(); ++iteration) {
            std::vector<std::int64_t> counts;
            for (std::size_t layer = 0; layer < 2; ++layer)
                for (const auto& part : parts) {
                    const auto first = part[iteration].begin() + static_cast<long>(layer * row);
                    counts.insert(counts.end(), first, first + static_cast<long>(row));
                }
            REQUIRE(counts == expected[iteration]);
        }
    }
}

TEST_CASE("a checkpoint's layers on GPUs route as on the CPU") {
    struct Case {
        const char* model;
        int num_devices;
        bool iteration_major;
    };
    for (const Case& c : {Case{"deepseek_v3_fp8", 1, false},
                          {"gpt_oss", 2, false},
                          {"qwen2_moe", 1, true},
                          {"olmoe", 4, false}}) {
        if (c.num_devices > num_test_gpus())
            continue;
        INFO(c.model << ", devices " << c.num_devices);
        const DecoderConfig config = read_decoder_config(model_folder(c.model));
        const Checkpoint checkpoint(model_folder(c.model));
        std::vector<Request> requests;
        for (int i = 0; i < 5; ++i) {
            Request request;
            for (int t = 0; t < 3 + 2 * i; ++t)
                request.input_ids.push_back((7 * i + 3 * t * t + t) % config.moe.vocab_size);
            requests.push_back(request);
        }
        const TokenSchedule schedule =
            make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 8});
        const auto run_on = [&](Backend& backend, Communicator* communicator, ProcessGroup* group) {
            LayerReader reader(config, checkpoint, config.num_needed_layers(), true,
                               Decoder::experts_here(config, communicator));
            CheckpointRun::Options options;
            options.ep_size = 2;
            options.iteration_major = c.iteration_major;
            options.limits = {.attention_tokens = 11, .expert_tokens = 13};
            options.communicator = communicator;
            options.group = group;
            CheckpointRun run(config, reader, schedule, options, backend);
            if (!run.run())
                throw std::logic_error("the run was stopped");
            return run.take_statistics();
        };
        ThreadPool threads(2);
        CpuBackend cpu(threads);
        const ExpertStatistics expected = run_on(cpu, nullptr, nullptr);
        std::vector<ExpertStatistics> statistics(c.num_devices);
        on_gpus(c.num_devices,
                [&](int device, Backend& gpu, Communicator* communicator, ProcessGroup* group) {
                    statistics[device] = run_on(gpu, communicator, group);
                });
        for (const ExpertStatistics& part : statistics)
            REQUIRE(part == expected);
    }
}
