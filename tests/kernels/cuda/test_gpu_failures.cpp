#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "kernels/backends.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/nccl_communicator.h"
#include "kernels/held_weights.h"
#include "lib/base/error.h"
#include "lib/cluster/thread_group.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/kernels/kernel_support.h"
#include "tests/test_support.h"

namespace eplb::test_gpu_failures {

// What goes wrong with GPUs, as only an emulated one does when it is told to; and what is left
// behind.

using namespace eplb::test;

namespace {

// Gives the emulator back as it was.
struct Restore {
    std::function<void()> undo;
    ~Restore() { undo(); }
};

// body(group) of rank 0 and of rank 1, each in a thread; what they threw
std::vector<std::string> on_two_ranks(const std::function<void(ProcessGroup&)>& first,
                                      const std::function<void(ProcessGroup&)>& second) {
    ThreadGroup shared(2);
    std::vector<std::string> errors(2);
    const auto run = [&](int rank, const std::function<void(ProcessGroup&)>& body) {
        const std::unique_ptr<ProcessGroup> group = shared.member(rank);
        std::string& text = errors[rank];
        try {
            body(*group);
        } catch (const std::exception& error) {
            text = error.what();
            group->fail(text);
        }
    };
    std::thread other([&] { run(1, second); });
    run(0, first);
    other.join();
    return errors;
}

// of communicators that need not wait long for word of others
constexpr auto kDeadline = std::chrono::seconds(300);
constexpr auto kVerdictLimit = std::chrono::milliseconds(300);

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("without a GPU there are none, and asking for one is an error with a remedy") {
    const Restore restore = {[] { cuda_emulator::set_device_count(4); }};
    cuda_emulator::set_device_count(0);
    CHECK(num_cuda_devices() == 0);
    ThreadPool threads(1);
    const std::string error = error_of([&] { make_backend(BackendKind::cuda, 0, threads, {}); });
    CHECK_STARTS_WITH(error, "backend cuda: no GPU");
    CHECK(error.ends_with("run with backend cpu"));
}

TEST_CASE("weights that do not fit are an error; what was held before stays usable") {
    const Restore restore = {[] { cuda_emulator::set_memory_size(std::size_t{4} << 30); }};
    const std::vector<float> small = {3};
    const std::vector<float> large(std::size_t{1} << 22);
    const std::unique_ptr<Backend> gpu = make_gpu();
    cuda_emulator::set_memory_size(std::size_t{12} << 20);
    TestMemory memory(*gpu);
    memory.hold(small);
    CHECK_STARTS_WITH(error_of([&] {
                          for (int i = 0; i < 4; ++i)
                              memory.hold(std::as_bytes(std::span(large).subspan(
                                  static_cast<std::size_t>(i) << 20, std::size_t{1} << 20)));
                          memory.hold(large);
                      }),
                      "GPU 0: no room for ");
    auto* const output = memory.room<float>(1);
    const std::vector<std::int32_t> row = {0};
    gpu->embed({.type = WeightType::f32,
                .num_rows = 1,
                .num_columns = 1,
                .data = reinterpret_cast<const std::byte*>(small.data())},
               row, output);
    CHECK(memory.get(output, 1) == small);
}

// as HeldWeights' users do when an exception unwinds the stack: host memory goes after the drop
TEST_CASE("host memory may end after a drop, even where another device has failed") {
    for (int round = 0; round < 8; ++round) {
        const std::unique_ptr<Backend> gpu = make_gpu();
        dynamic_cast<CudaBackend&>(*gpu).device().set_wait_check(
            [] { throw Error("rank 1 is gone"); });
        auto host = std::make_unique<std::vector<std::byte>>(std::size_t{48} << 20);
        {
            const std::span<const std::byte> all(*host);
            const std::size_t part = host->size() / 3;
            const HeldWeights held(
                *gpu, {all.first(part), all.subspan(part, part), all.subspan(2 * part)});
            // the thread is somewhere in the first part, or not there yet
            std::this_thread::sleep_for(std::chrono::microseconds(300 * round));
        }
        host.reset();
    }
}

TEST_CASE("what was held before an error of hold() may end") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    auto host = std::make_unique<std::vector<std::byte>>(std::size_t{32} << 20);
    const std::span<const std::byte> all(*host);
    const std::span<const std::byte> too_much(host->data(), std::size_t{1} << 60);
    const std::size_t part = host->size() / 2;
    CHECK_THROWS_AS(HeldWeights(*gpu, {all.first(part), all.subspan(part), too_much}), Error);
    host.reset();
}

TEST_CASE("a backend leaves nothing behind") {
    const int before = cuda_emulator::num_allocations();
    {
        const StoredMatrix matrix(WeightType::f8_e4m3, 64, 64, 1);
        const std::vector<float> never_used(1000);
        const std::unique_ptr<Backend> gpu = make_gpu(ProductPrecision::bf16);
        TestMemory memory(*gpu);
        const WeightMatrix weight = memory.hold(matrix);
        const float* const input = memory.put(random_values(3 * 64, 1));
        auto* const output = memory.room<float>(3 * 64);
        gpu->linear(weight, nullptr, 3, input, output, false);
        const std::span<const std::byte> kept[] = {std::as_bytes(std::span(never_used))};
        gpu->hold_weights(kept);
        gpu->begin_stage(0);
        HostBuffer<float> host(*gpu);
        host.grow(3 * 64);
        gpu->start_download(output, 3 * 64 * sizeof(float), host.first(1).data());
    }
    CHECK(cuda_emulator::num_allocations() == before);
}

TEST_CASE("a started download is not there before somebody waits") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    DeviceBuffer<std::int32_t> values(*gpu);
    HostBuffer<std::int32_t> host(*gpu);
    host.grow(3);
    const std::vector<std::int32_t> before = {7, 8, 9};
    std::copy(before.begin(), before.end(), host.first(3).begin());
    const auto found = [&] {
        return std::vector<std::int32_t>(host.first(3).begin(), host.first(3).end());
    };
    const std::vector<std::int32_t> sent = {1, 2, 3};
    values.upload(sent);
    host.start_download(values, 3);
    CHECK(found() == before);
    gpu->synchronize();
    CHECK(found() == sent);
}

TEST_CASE("communicators that succeed are finished, not aborted") {
    const int aborts = cuda_emulator::num_aborts();
    const auto body = [](ProcessGroup& group) {
        const std::unique_ptr<Backend> gpu =
            make_gpu(ProductPrecision::fp32, std::size_t{1} << 24, group.rank());
        const auto communicator = make_gpu_communicator(*gpu, group);
        TestMemory memory(*gpu);
        // nobody waits for it but the end
        communicator->all_gather(memory.put(std::vector<std::byte>(10)), 10,
                                 memory.room<std::byte>(20));
    };
    CHECK(on_two_ranks(body, body) == std::vector<std::string>(2));
    CHECK(cuda_emulator::num_communicators() == 0);
    CHECK(cuda_emulator::num_aborts() == aborts);
}

TEST_CASE("an error that NCCL reports later ends the wait, and all communicators") {
    const Restore restore = {[] { cuda_emulator::set_nccl_error(1, ncclSuccess); }};
    const int aborts = cuda_emulator::num_aborts();
    const auto body = [](ProcessGroup& group) {
        const std::unique_ptr<Backend> gpu =
            make_gpu(ProductPrecision::fp32, std::size_t{1} << 24, group.rank());
        // rank 1's verdict comes before rank 0 gives up to wait for it
        NcclCommunicator communicator(dynamic_cast<CudaBackend&>(*gpu), group, kDeadline,
                                      group.rank() == 1 ? kVerdictLimit : 10 * kVerdictLimit);
        TestMemory memory(*gpu);
        std::byte* const mine = memory.put(std::vector<std::byte>(10));
        std::byte* const all = memory.room<std::byte>(20);
        group.barrier();
        if (group.rank() == 1) {
            // its exchange finds nobody
            cuda_emulator::set_nccl_error(1, ncclRemoteError);
            communicator.all_gather(mine, 10, all);
        } else {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            communicator.all_gather(mine, 10, all);
            communicator.all_gather(mine, 10, all);
        }
        gpu->synchronize();
        communicator.all_gather(mine, 10, all);
        gpu->synchronize();
    };
    const std::vector<std::string> errors = on_two_ranks(body, body);
    CAPTURE(errors);
    CHECK_STARTS_WITH(errors[1], "NCCL: rank 1 of 2: ");
    CHECK(contains(errors[1], "remote process exited"));
    CHECK(contains(errors[0], "remote process exited"));
    CHECK_STARTS_WITH(errors[0], "rank 1");
    CHECK(cuda_emulator::num_communicators() == 0);
    CHECK(cuda_emulator::num_aborts() == aborts + 2);
}

TEST_CASE("a communicator that was given up refuses further calls") {
    const Restore restore = {[] { cuda_emulator::set_nccl_error(0, ncclSuccess); }};
    ThreadGroup shared(1);
    const std::unique_ptr<ProcessGroup> group = shared.member(0);
    const std::unique_ptr<Backend> gpu = make_gpu();
    NcclCommunicator communicator(dynamic_cast<CudaBackend&>(*gpu), *group, kDeadline,
                                  kVerdictLimit);
    TestMemory memory(*gpu);
    std::byte* const bytes = memory.put(std::vector<std::byte>(10));
    std::byte* const received = memory.room<std::byte>(10);
    auto* const values = memory.put(std::vector<float>(1 << 18));
    communicator.all_gather(bytes, 10, received);
    cuda_emulator::set_nccl_error(0, ncclSystemError);
    // long enough for the wait to ask
    for (int i = 0; i < 50; ++i)
        gpu->clamp(1, 1 << 18, values);
    CHECK_STARTS_WITH(error_of([&] { gpu->synchronize(); }), "NCCL: ");
    CHECK_STARTS_WITH(error_of([&] { communicator.all_gather(bytes, 10, received); }),
                      "NCCL: used after it failed");
}

TEST_CASE("connecting ends after a deadline, whether or not the others are alive") {
    const auto start = std::chrono::steady_clock::now();
    const std::vector<std::string> errors = on_two_ranks(
        [](ProcessGroup& group) {
            CudaBackend gpu(0, {});
            NcclCommunicator communicator(gpu, group, std::chrono::seconds(1), kVerdictLimit);
        },
        [](ProcessGroup& group) {
            group.all_gather("");
            group.barrier();  // alive, and never connects
        });
    CHECK_STARTS_WITH(errors[0], "NCCL: rank 0 of 2: ncclCommInitRankConfig took more than 1 s");
    CHECK(contains(errors[1], "took more than 1 s"));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
    CHECK(cuda_emulator::num_communicators() == 0);
}

}  // namespace eplb::test_gpu_failures
