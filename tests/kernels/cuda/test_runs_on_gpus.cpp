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
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(num_devices));
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
                errors[static_cast<std::size_t>(device)] = std::current_exception();
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    for (const std::exception_ptr& error : errors)
        if (error)
            std::rethrow_exception(error);
}

std::vector<int> numbers_of_devices() {
    std::vector<int> numbers;
    for (const int number : {1, 2, 4})
        if (number <= num_test_gpus())
            numbers.push_back(number);
    return numbers;
}

Preset small_preset() {
    Preset preset = find_preset("deepseek-r1");
    preset.model.layers.resize(2);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 8;
    preset.model.shared_intermediate_size = 8;
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
    for (int iteration = 0; iteration < 4; ++iteration)
        counts.push_back(harness.run(iteration, source.next()).counts);
    return counts;
}

}  // namespace

TEST_CASE("a preset on GPUs is counted as on the CPU") {
    ThreadPool threads(2);
    const SyntheticModel model(small_preset(), 1, threads);
    EplbConfig online;
    online.num_slots = 264;
    online.layer_updates_per_iter = 1;
    for (const std::optional<EplbConfig>& config : {std::optional<EplbConfig>(), {online}})
        for (const int max_num_tokens : {0, 17}) {
            Harness::Options options;
            options.ep_size = kEpSize;
            options.config = config;
            options.max_num_tokens = max_num_tokens;
            CpuBackend cpu(threads);
            const auto expected = run_preset(model, options, cpu);
            for (const int num_devices : numbers_of_devices()) {
                INFO("devices " << num_devices << ", max_num_tokens " << max_num_tokens
                                << (config ? ", online" : ""));
                std::vector<std::vector<std::vector<std::int64_t>>> parts(
                    static_cast<std::size_t>(num_devices));
                on_gpus(num_devices,
                        [&](int device, Backend& gpu, Communicator* communicator, ProcessGroup*) {
                            Harness::Options own = options;
                            own.communicator = communicator;
                            parts[static_cast<std::size_t>(device)] = run_preset(model, own, gpu);
                        });
                // a device has the rows of its ranks, layer by layer
                const std::size_t num_slots = config ? 264 : 256;
                const std::size_t row = kEpSize / parts.size() * num_slots;
                for (std::size_t iteration = 0; iteration < expected.size(); ++iteration) {
                    std::vector<std::int64_t> counts;
                    for (std::size_t layer = 0; layer < 2; ++layer)
                        for (const auto& part : parts) {
                            const auto first =
                                part[iteration].begin() + static_cast<long>(layer * row);
                            counts.insert(counts.end(), first, first + static_cast<long>(row));
                        }
                    REQUIRE(counts == expected[iteration]);
                }
            }
        }
}

TEST_CASE("a checkpoint's layers on GPUs route as on the CPU") {
    for (const char* const name : {"deepseek_v3_fp8", "gpt_oss", "qwen2_moe", "olmoe"}) {
        const DecoderConfig config = read_decoder_config(model_folder(name));
        const Checkpoint checkpoint(model_folder(name));
        std::vector<Request> requests;
        for (int i = 0; i < 5; ++i) {
            Request request;
            for (int t = 0; t < 3 + 4 * i; ++t)
                request.input_ids.push_back((7 * i + 3 * t * t + t) % config.moe.vocab_size);
            requests.push_back(request);
        }
        const TokenSchedule schedule =
            make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 8});
        const auto run_on = [&](Backend& backend, Communicator* communicator, ProcessGroup* group,
                                bool iteration_major) {
            LayerReader reader(config, checkpoint, config.num_needed_layers(), true,
                               Decoder::experts_here(config, communicator));
            CheckpointRun::Options options;
            options.ep_size = 2;
            options.iteration_major = iteration_major;
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
        const ExpertStatistics expected = run_on(cpu, nullptr, nullptr, false);
        for (const int num_devices : numbers_of_devices())
            for (const bool iteration_major : {false, true}) {
                INFO(name << ", devices " << num_devices << ", iteration_major "
                          << iteration_major);
                std::vector<ExpertStatistics> statistics(static_cast<std::size_t>(num_devices));
                on_gpus(num_devices, [&](int device, Backend& gpu, Communicator* communicator,
                                         ProcessGroup* group) {
                    statistics[static_cast<std::size_t>(device)] =
                        run_on(gpu, communicator, group, iteration_major);
                });
                for (const ExpertStatistics& part : statistics)
                    REQUIRE(part == expected);
            }
    }
}
