#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/backends.h"
#include "lib/base/error.h"
#include "tests/kernels/cuda/gpu_support.h"
#include "tests/kernels/kernel_support.h"
#include "tests/test_support.h"

namespace eplb::test_cuda_backend {

// Memory, weights, downloads and stages of a GPU.

using namespace eplb::test;

namespace {

std::vector<std::byte> some_bytes(std::size_t size, unsigned seed) {
    std::vector<std::byte> bytes(size);
    std::uint32_t state = seed * 2654435761U + 1;
    for (std::byte& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

std::vector<float> counting(std::size_t size, float first) {
    std::vector<float> values(size);
    std::iota(values.begin(), values.end(), first);
    return values;
}

// to += weight * from, through a product: weight [1][1], values as tokens
void add_product(Backend& gpu, const float* weight, int num_values, const float* from, float* to) {
    gpu.linear({.type = WeightType::f32,
                .num_rows = 1,
                .num_columns = 1,
                .data = reinterpret_cast<const std::byte*>(weight)},
               nullptr, num_values, from, to, true);
}

}  // namespace

TEST_CASE("what is uploaded comes back, whatever its size") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    // around the parts in which uploads (1 MiB) and downloads (4 MiB) are made
    constexpr std::size_t kMiB = std::size_t{1} << 20;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{255}, kMiB - 1, kMiB,
                                   kMiB + 1, 4 * kMiB, 4 * kMiB + 3, 13 * kMiB + 7}) {
        CAPTURE(size);
        const std::vector<std::byte> bytes = some_bytes(size, 1);
        TestMemory memory(*gpu);
        const std::byte* const there = memory.put(bytes);
        REQUIRE((memory.get(there, size) == bytes));  // not printed: it is long
    }
}

TEST_CASE("a host array may change once an upload has returned") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    TestMemory memory(*gpu);
    std::vector<std::byte*> there;
    std::vector<std::byte> bytes(300'000);
    // far more than the pinned memory they go through
    for (unsigned i = 0; i < 60; ++i) {
        bytes.assign(bytes.size(), static_cast<std::byte>(i));
        there.push_back(memory.put(bytes));
    }
    bytes.assign(bytes.size(), std::byte{255});
    for (unsigned i = 0; i < 60; ++i)
        REQUIRE((memory.get(there[i], bytes.size()) ==
                 std::vector<std::byte>(bytes.size(), static_cast<std::byte>(i))));
}

TEST_CASE("memory is aligned") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    for (const std::size_t size : {0, 1, 100, 5000}) {
        void* const memory = gpu->allocate(size);
        CHECK(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0);
        gpu->release(memory);
    }
    gpu->release(nullptr);
    gpu->synchronize();
}

TEST_CASE("a started download is there after a later wait, as memory was when it was started") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    TestMemory memory(*gpu);
    std::byte* const other = memory.put(some_bytes(10, 3));
    // what waits: synchronize(), and downloads of anything, also of nothing
    const std::vector<std::function<void()>> waits = {
        [&] { gpu->synchronize(); }, [&] { memory.get(other, 10); }, [&] { memory.get(other, 0); }};
    for (const auto& wait : waits) {
        const std::vector<std::byte> first = some_bytes(1000, 1);
        const std::vector<std::byte> second = some_bytes(9'000'000, 2);
        std::byte* const a = memory.put(first);
        std::byte* const b = memory.put(second);
        auto* const host_a = static_cast<std::byte*>(gpu->allocate_host(first.size()));
        auto* const host_b = static_cast<std::byte*>(gpu->allocate_host(second.size()));
        gpu->start_download(a, first.size(), host_a);
        gpu->start_download(nullptr, 0, nullptr);
        gpu->start_download(b, second.size(), host_b);
        // what comes later changes nothing
        gpu->upload(second.data(), first.size(), a);
        gpu->upload(first.data(), first.size(), b);
        wait();
        CHECK(std::equal(first.begin(), first.end(), host_a));
        CHECK(std::equal(second.begin(), second.end(), host_b));
        gpu->release_host(host_a);
        gpu->release_host(host_b);
    }
}

TEST_CASE("memory of the host for downloads serves again, and grows") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    DeviceBuffer<std::int32_t> values(*gpu);
    HostBuffer<std::int32_t> host(*gpu);
    for (const int size : {3, 100'000, 0, 7}) {
        std::vector<std::int32_t> numbers(size);
        std::iota(numbers.begin(), numbers.end(), size);
        values.upload(numbers);
        host.start_download(values, numbers.size());
        gpu->synchronize();
        const std::span<std::int32_t> found = host.first(numbers.size());
        CHECK(std::equal(found.begin(), found.end(), numbers.begin(), numbers.end()));
    }
}

TEST_CASE("weights are found at any address inside what is held") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    constexpr int kSize = 64;
    for (const std::size_t shift : {0, 1, 2, 3, 5, 8, 15}) {
        CAPTURE(shift);
        // a part that begins at an odd address, and values in its middle, two rows of a table
        const std::vector<float> values = random_values(5 * kSize, static_cast<unsigned>(shift));
        std::vector<std::byte> file(values.size() * sizeof(float) + 100 + shift);
        std::memcpy(file.data() + shift + 50, values.data(), values.size() * sizeof(float));
        TestMemory memory(*gpu);
        memory.hold(std::span(file).subspan(shift));
        auto* const output = memory.room<float>(2 * kSize);
        const std::vector<std::int32_t> rows = {3, 1};
        gpu->embed({.type = WeightType::f32,
                    .num_rows = 4,
                    .num_columns = kSize,
                    .data = file.data() + shift + 50 + kSize * sizeof(float)},
                   rows, output);
        std::vector<float> expected = rows_of(values, 4, 1, kSize);
        const std::vector<float> second = rows_of(values, 2, 1, kSize);
        expected.insert(expected.end(), second.begin(), second.end());
        REQUIRE(memory.get(output, 2 * kSize) == expected);
    }
}

TEST_CASE("weights larger than the memory they are copied through arrive whole") {
    const std::vector<float> dropped = random_values(3000, 7);
    const std::unique_ptr<Backend> gpu = make_gpu();
    constexpr int kColumns = 4096;
    constexpr int kRows = 5000;  // 78 MiB; through 4 x 16 MiB
    std::vector<float> values(std::size_t{kRows} * kColumns);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(i % 1'000'003);
    TestMemory memory(*gpu);
    // used and dropped before: their memory must last until they have been used
    const std::span<const std::byte> parts[] = {std::as_bytes(std::span(dropped))};
    const std::vector<std::int32_t> first_row = {0};
    auto* const copy = memory.room<float>(dropped.size());
    gpu->hold_weights(parts);
    gpu->embed({.type = WeightType::f32,
                .num_rows = 1,
                .num_columns = static_cast<int>(dropped.size()),
                .data = parts[0].data()},
               first_row, copy);
    gpu->drop_weights(parts);
    memory.hold(values);
    std::vector<std::int32_t> rows;
    for (int row = 0; row < kRows; row += 101)
        rows.push_back(row);
    rows.push_back(kRows - 1);
    auto* const output = memory.room<float>(rows.size() * kColumns);
    gpu->embed({.type = WeightType::f32,
                .num_rows = kRows,
                .num_columns = kColumns,
                .data = reinterpret_cast<const std::byte*>(values.data())},
               rows, output);
    const std::vector<float> found = memory.get(output, rows.size() * kColumns);
    for (std::size_t i = 0; i < rows.size(); ++i)
        REQUIRE((rows_of(found, static_cast<int>(i), 1, kColumns) ==
                 rows_of(values, rows[i], 1, kColumns)));
    REQUIRE((memory.get(copy, dropped.size()) == dropped));
}

TEST_CASE("weights in device memory need not be held") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    TestMemory memory(*gpu);
    const std::vector<float> values = random_values(30, 1);
    const float* const weight = memory.put(std::vector<float>{2.5F});
    const float* const input = memory.put(values);
    auto* const output = memory.put(counting(30, 1));
    add_product(*gpu, weight, 30, input, output);
    std::vector<float> expected = counting(30, 1);
    for (std::size_t i = 0; i < values.size(); ++i)
        expected[i] += 2.5F * values[i];
    check_close(memory.get(output, 30), expected, 1e-6);
}

TEST_CASE("weights held twice stay until they are dropped twice, and may be held anew") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    TestMemory memory(*gpu);
    std::vector<float> weight = {2};
    const std::span<const std::byte> parts[] = {std::as_bytes(std::span(weight))};
    const float* const input = memory.put(std::vector<float>{1});
    auto* const output = memory.put(std::vector<float>{0});
    gpu->hold_weights(parts);
    gpu->hold_weights(parts);
    add_product(*gpu, weight.data(), 1, input, output);  // 2
    gpu->drop_weights(parts);
    add_product(*gpu, weight.data(), 1, input, output);  // 4
    gpu->drop_weights(parts);
    // at the same address there is something else now
    weight[0] = 10;
    gpu->hold_weights(parts);
    add_product(*gpu, weight.data(), 1, input, output);  // 14
    // dropped while what uses it may not have been done
    gpu->drop_weights(parts);
    weight[0] = 1000;
    CHECK(memory.get(output, 1) == std::vector<float>{14});
}

TEST_CASE("weights that were never used, or not held, can be dropped") {
    const std::vector<std::byte> some = some_bytes(5'000'000, 1);
    const std::unique_ptr<Backend> gpu = make_gpu();
    std::vector<std::span<const std::byte>> parts;
    for (std::size_t i = 0; i < 50; ++i)
        parts.push_back(std::span(some).subspan(i * 100'000, 100'000));
    parts.push_back({});
    gpu->hold_weights(parts);
    gpu->drop_weights(parts);
    gpu->drop_weights(parts);
    gpu->hold_weights(parts);
    // the rest is dropped with the backend
}

TEST_CASE("a part held with another size is refused") {
    const std::vector<std::byte> some = some_bytes(100, 1);
    const std::unique_ptr<Backend> gpu = make_gpu();
    const std::span<const std::byte> whole[] = {std::span(some)};
    const std::span<const std::byte> half[] = {std::span(some).first(50)};
    gpu->hold_weights(half);
    CHECK_STARTS_WITH(error_of([&] { gpu->hold_weights(whole); }), "weights: ");
}

TEST_CASE("a layer's weights can be held while those before are used and dropped") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    TestMemory memory(*gpu);
    constexpr int kLayers = 20;
    constexpr int kSize = 3000;
    std::vector<std::vector<float>> layers;
    for (int layer = 0; layer < kLayers; ++layer)
        layers.push_back(counting(kSize, static_cast<float>(layer)));
    const auto parts_of = [&](int layer) {
        return std::vector{std::as_bytes(std::span(layers[layer]))};
    };
    auto* const output = memory.room<float>(kLayers * kSize);
    gpu->hold_weights(parts_of(0));
    const std::vector<std::int32_t> first_row = {0};
    for (int layer = 0; layer < kLayers; ++layer) {
        if (layer + 1 < kLayers)
            gpu->hold_weights(parts_of(layer + 1));
        auto& values = layers[layer];
        gpu->embed({.type = WeightType::f32,
                    .num_rows = 1,
                    .num_columns = kSize,
                    .data = reinterpret_cast<const std::byte*>(values.data())},
                   first_row, output + layer * kSize);
        gpu->drop_weights(parts_of(layer));
        values.assign(values.size(), -1.0F);
    }
    for (int layer = 0; layer < kLayers; ++layer)
        REQUIRE(memory.get(output + layer * kSize, kSize) ==
                counting(kSize, static_cast<float>(layer)));
}

TEST_CASE("the time of stages adds up to that of all") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    CHECK(gpu->stage_seconds().empty());
    TestMemory memory(*gpu);
    auto* const values = memory.put(counting(1'000'000, 0));
    const auto start = std::chrono::steady_clock::now();
    // more stages than events are kept for
    for (int i = 0; i < 3000; ++i) {
        gpu->begin_stage(i % 2 == 0 ? 1 : 4);
        if (i % 100 == 0)
            gpu->clamp(1, 1'000'000, values);
    }
    const std::vector<double> seconds = gpu->stage_seconds();
    const double elapsed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    REQUIRE(seconds.size() == 5);
    CHECK(seconds[0] == 0);
    CHECK(seconds[1] > 0);
    CHECK(seconds[2] == 0);
    CHECK(seconds[1] + seconds[4] <= elapsed);
    // it goes on
    const std::vector<double> later = gpu->stage_seconds();
    CHECK(later[4] >= seconds[4]);
    CHECK(later[1] == seconds[1]);
}

TEST_CASE("a GPU that is not there is an error with a remedy") {
    ThreadPool threads(1);
    for (const int device : {-1, 1000}) {
        const std::string error =
            error_of([&] { make_backend(BackendKind::cuda, device, threads, {}); });
        CHECK_STARTS_WITH(error, "backend cuda: no GPU " + std::to_string(device));
    }
    CHECK(has_cuda_build());
    CHECK(make_backend(BackendKind::cpu, 0, threads, {}) != nullptr);
}

TEST_CASE("memory that is not there is an error that says how much was asked for") {
    const std::unique_ptr<Backend> gpu = make_gpu();
    constexpr std::size_t kTooMuch = std::size_t{1} << 62;
    const std::string error = error_of([&] { gpu->allocate(kTooMuch); });
    CHECK_STARTS_WITH(error, "GPU 0: cannot allocate " + std::to_string(kTooMuch) + " bytes");
    // and nothing else happened
    TestMemory memory(*gpu);
    CHECK(memory.get(memory.put(counting(3, 1)), 3) == counting(3, 1));
}

}  // namespace eplb::test_cuda_backend
