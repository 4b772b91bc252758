#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/backends.h"
#include "lib/base/error.h"
#include "lib/cluster/thread_group.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/test_support.h"

namespace eplb::test_nccl_communicator {

// NCCL between GPUs, a thread each.

using namespace eplb::test;

namespace {

// runs body(rank, group) in a thread per rank; what each threw, empty for nothing
std::vector<std::string> on_ranks(int num_ranks,
                                  const std::function<void(int rank, ProcessGroup& group)>& body) {
    ThreadGroup shared(num_ranks);
    std::vector<std::string> errors(num_ranks);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank)
        threads.emplace_back([&, rank] {
            const std::unique_ptr<ProcessGroup> group = shared.member(rank);
            std::string& text = errors[rank];
            try {
                body(rank, *group);
            } catch (const std::exception& error) {
                text = error.what();
                group->fail(text);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    return errors;
}

std::vector<int> numbers_of_ranks() {
    std::vector<int> numbers;
    for (const int num_ranks : {1, 2, 4})
        if (num_ranks <= num_test_gpus())
            numbers.push_back(num_ranks);
    return numbers;
}

std::unique_ptr<Backend> gpu_of(int rank) {
    return make_gpu(ProductPrecision::fp32, std::size_t{1} << 24, rank);
}

// what `from` sends to `to` in a round, known to both
std::byte content(int round, int from, int to, std::int64_t position) {
    return static_cast<std::byte>((position * 7 + from * 31 + to * 57 + round * 101) % 251);
}

std::int64_t message_size(int round, int from, int to) {
    std::mt19937 generator(static_cast<unsigned>(round * 10'000 + from * 100 + to));
    const unsigned kind = generator() % 4;
    return kind == 0 ? 0 : kind == 1 ? generator() % 5 : generator() % 40'000;
}

}  // namespace

TEST_CASE("NCCL: everyone receives what was sent to it, of any size") {
    for (const int num_ranks : numbers_of_ranks()) {
        const std::vector<std::string> errors =
            on_ranks(num_ranks, [&](int rank, ProcessGroup& group) {
                const std::unique_ptr<Backend> gpu = gpu_of(rank);
                const auto communicator = make_gpu_communicator(*gpu, group);
                if (communicator->rank() != rank || communicator->size() != num_ranks)
                    throw Error("wrong rank or size");
                TestMemory memory(*gpu);
                std::vector<std::pair<const std::byte*, std::vector<std::byte>>> received;
                for (int round = 0; round < 12; ++round) {
                    std::vector<std::int64_t> send_begin = {0};
                    std::vector<std::int64_t> receive_begin = {0};
                    std::vector<std::byte> send;
                    std::vector<std::byte> expected;
                    for (int peer = 0; peer < num_ranks; ++peer) {
                        const std::int64_t sent = message_size(round, rank, peer);
                        for (std::int64_t i = 0; i < sent; ++i)
                            send.push_back(content(round, rank, peer, i));
                        const std::int64_t awaited = message_size(round, peer, rank);
                        for (std::int64_t i = 0; i < awaited; ++i)
                            expected.push_back(content(round, peer, rank, i));
                        send_begin.push_back(static_cast<std::int64_t>(send.size()));
                        receive_begin.push_back(static_cast<std::int64_t>(expected.size()));
                    }
                    auto* const receive = memory.room<std::byte>(expected.size());
                    communicator->exchange(memory.put(send), send_begin, receive, receive_begin);
                    received.emplace_back(receive, expected);
                    // calls are ordered with the backend's: some rounds wait, some do not
                    if (round % 3 == 0 && memory.get(receive, expected.size()) != expected)
                        throw Error("wrong content in round " + std::to_string(round));
                }
                for (const auto& [receive, expected] : received)
                    if (memory.get(receive, expected.size()) != expected)
                        throw Error("wrong content at the end");
            });
        REQUIRE(errors == std::vector<std::string>(num_ranks));
    }
}

TEST_CASE("NCCL: all_gather gives everyone's bytes in the order of ranks") {
    for (const int num_ranks : numbers_of_ranks()) {
        const std::vector<std::string> errors =
            on_ranks(num_ranks, [&](int rank, ProcessGroup& group) {
                const std::unique_ptr<Backend> gpu = gpu_of(rank);
                const auto communicator = make_gpu_communicator(*gpu, group);
                TestMemory memory(*gpu);
                for (const std::size_t size : {0, 1, 1000}) {
                    const std::vector<std::byte> mine(size, static_cast<std::byte>(rank + 1));
                    const std::size_t all = size * static_cast<std::size_t>(num_ranks);
                    auto* const receive = memory.room<std::byte>(all);
                    communicator->all_gather(memory.put(mine), size, receive);
                    const std::vector<std::byte> found = memory.get(receive, all);
                    for (std::size_t i = 0; i < all; ++i)
                        if (found[i] != static_cast<std::byte>(i / size + 1))
                            throw Error("wrong content at " + std::to_string(i));
                }
            });
        REQUIRE(errors == std::vector<std::string>(num_ranks));
    }
}

TEST_CASE("NCCL: where a member fails, the others' waits end with its error") {
    for (const int num_ranks : {2, 4}) {
        if (num_ranks > num_test_gpus())
            continue;
        // before it has the id, before it connects, between calls, while the others wait for it
        for (const int fails_at : {0, 1, 2, 3}) {
            CAPTURE(num_ranks, fails_at);
            const auto start = std::chrono::steady_clock::now();
            const int culprit = num_ranks - 1;
            const std::vector<std::string> errors =
                on_ranks(num_ranks, [&](int rank, ProcessGroup& group) {
                    const std::unique_ptr<Backend> gpu = gpu_of(rank);
                    if (rank == culprit && fails_at == 0)
                        throw Error("disk full");
                    if (rank == culprit && fails_at == 1) {
                        group.all_gather("");
                        throw Error("disk full");
                    }
                    const auto communicator = make_gpu_communicator(*gpu, group);
                    TestMemory memory(*gpu);
                    auto* const all =
                        memory.room<std::byte>(100 * static_cast<std::size_t>(num_ranks));
                    const std::byte* const mine = memory.put(std::vector<std::byte>(100));
                    if (rank == culprit && fails_at == 2)
                        throw Error("disk full");
                    communicator->all_gather(mine, 100, all);
                    gpu->synchronize();
                    if (rank == culprit) {
                        std::this_thread::sleep_for(std::chrono::milliseconds(20));
                        throw Error("disk full");
                    }
                    communicator->all_gather(mine, 100, all);
                    gpu->synchronize();
                    throw Error("a wait for a member that failed came to an end");
                });
            for (int rank = 0; rank < num_ranks; ++rank)
                if (rank != culprit) {
                    const std::string& error = errors[rank];
                    CAPTURE(error);
                    CHECK(error.starts_with("rank " + std::to_string(culprit)));
                    CHECK(error.find("disk full") != std::string::npos);
                }
            CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
        }
    }
}

TEST_CASE("NCCL: one rank sends to itself, from and to any offset") {
    const std::vector<std::string> errors = on_ranks(1, [&](int rank, ProcessGroup& group) {
        const std::unique_ptr<Backend> gpu = gpu_of(rank);
        const auto communicator = make_gpu_communicator(*gpu, group);
        TestMemory memory(*gpu);
        const std::vector<std::byte> bytes(5000, std::byte{9});
        auto* const receive = memory.put(std::vector<std::byte>(6000));
        // offsets that do not begin at 0
        communicator->exchange(memory.put(bytes), std::vector<std::int64_t>{100, 300}, receive,
                               std::vector<std::int64_t>{1000, 1200});
        std::vector<std::byte> expected(6000);
        std::fill_n(expected.begin() + 1000, 200, std::byte{9});
        if (memory.get(receive, 6000) != expected)
            throw Error("wrong content");
    });
    REQUIRE(errors == std::vector<std::string>(1));
}

}  // namespace eplb::test_nccl_communicator
