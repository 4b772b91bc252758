#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/cuda_emulator/emulator.h"

// What the emulator is there for: mistakes that a test on it must not survive.
namespace eplb::test_emulator {

namespace {

using cuda_emulator::dynamic_shared_memory;

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...),
                   int grid,
                   int block,
                   cudaStream_t stream,
                   Arguments... arguments) {
    cudaLaunchConfig_t config;
    config.gridDim = dim3(static_cast<unsigned>(grid));
    config.blockDim = dim3(static_cast<unsigned>(block));
    config.dynamicSmemBytes = 4096;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

// The text of the mistake that running the kernel is; empty if it is none.
template <typename... Parameters, typename... Arguments>
std::string mistake(void (*kernel)(Parameters...), int block, Arguments... arguments) {
    try {
        launch(kernel, 1, block, nullptr, arguments...);
        cudaDeviceSynchronize();
    } catch (const std::logic_error& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

__global__ void reverse_block(int* values) {
    int* const shared = static_cast<int*>(dynamic_shared_memory());
    shared[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    values[blockIdx.x * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

// misses a barrier: what others wrote is not there yet
__global__ void reverse_block_at_once(int* values) {
    int* const shared = static_cast<int*>(dynamic_shared_memory());
    shared[threadIdx.x] = values[threadIdx.x];
    values[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

__global__ void some_miss_barrier() {
    if (threadIdx.x < 40)
        __syncthreads();
}

__global__ void two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void lanes_miss_shuffle(int* values) {
    if (threadIdx.x % 2 == 0)
        values[threadIdx.x] = __shfl_sync(0xffffffffU, values[threadIdx.x], 0);
}

__global__ void lane_not_in_mask(int* values) {
    values[threadIdx.x] = __shfl_xor_sync(0xffffU, values[threadIdx.x], 1);
}

__global__ void reads_lane_outside(int* values) {
    if (threadIdx.x < 16)
        values[threadIdx.x] = __shfl_xor_sync(0xffffU, values[threadIdx.x], 16);
}

__global__ void barrier_for_shuffle(int* values) {
    if (threadIdx.x == 3)
        __syncthreads();
    values[threadIdx.x] = __shfl_sync(0xffffffffU, values[threadIdx.x], 0);
}

// every collective, by lane l of a warp: [7][32]
__global__ void collectives(int* values) {
    const int lane = static_cast<int>(threadIdx.x);
    const unsigned all = 0xffffffffU;
    values[lane] = __shfl_sync(all, lane * lane, 31 - lane);
    values[32 + lane] = __shfl_up_sync(all, lane, 3);
    values[64 + lane] = __shfl_xor_sync(all, lane, 5, 8);
    values[96 + lane] = static_cast<int>(__ballot_sync(all, lane % 3 == 0 ? 1 : 0));
    values[128 + lane] = static_cast<int>(__match_any_sync(all, lane % 5));
    values[160 + lane] = __reduce_max_sync(all, lane == 7 ? 100 : -lane);
    // the halves of a warp on their own
    const unsigned half = lane < 16 ? 0xffffU : 0xffff0000U;
    values[192 + lane] = __reduce_min_sync(half, lane);
}

__global__ void add_one(int* value) {
    atomicAdd(value, 1);
}

struct Device {
    explicit Device(const std::vector<int>& values) : size(values.size()) {
        cudaMalloc(&data, size * sizeof(int));
        cudaMemcpy(data, values.data(), size * sizeof(int), cudaMemcpyHostToDevice);
    }
    ~Device() { cudaFree(data); }
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    std::vector<int> get() const {
        std::vector<int> values(size);
        cudaMemcpy(values.data(), data, size * sizeof(int), cudaMemcpyDeviceToHost);
        return values;
    }
    int* data = nullptr;
    std::size_t size;
};

std::vector<int> first_numbers(int count) {
    std::vector<int> values;
    for (int i = 0; i < count; ++i)
        values.push_back(i);
    return values;
}

}  // namespace

TEST_CASE("emulator: barriers order a block's threads, and a missing one shows") {
    Device values(first_numbers(300));
    launch(reverse_block, 3, 100, nullptr, values.data);
    const std::vector<int> found = values.get();
    for (int i = 0; i < 300; ++i)
        REQUIRE(found[i] == i / 100 * 100 + 99 - i % 100);
    Device others(first_numbers(100));
    launch(reverse_block_at_once, 1, 100, nullptr, others.data);
    std::vector<int> reversed = first_numbers(100);
    CHECK(others.get() != std::vector<int>(reversed.rbegin(), reversed.rend()));
}

TEST_CASE("emulator: collectives give what CUDA's description says") {
    Device values(std::vector<int>(7 * 32));
    launch(collectives, 1, 32, nullptr, values.data);
    const std::vector<int> found = values.get();
    for (int lane = 0; lane < 32; ++lane) {
        const auto i = static_cast<std::size_t>(lane);
        CAPTURE(lane);
        CHECK(found[i] == (31 - lane) * (31 - lane));
        CHECK(found[32 + i] == (lane < 3 ? lane : lane - 3));
        CHECK(found[64 + i] == (lane ^ 5));
        CHECK(static_cast<unsigned>(found[96 + i]) == 0x49249249U);
        unsigned alike = 0;
        for (int other = lane % 5; other < 32; other += 5)
            alike |= 1U << other;
        CHECK(static_cast<unsigned>(found[128 + i]) == alike);
        CHECK(found[160 + i] == 100);
        CHECK(found[192 + i] == (lane < 16 ? 0 : 16));
    }
}

TEST_CASE("emulator: threads that wait for ever are a mistake") {
    Device values(first_numbers(64));
    CHECK(contains(mistake(some_miss_barrier, 64), "for all threads, but"));
    CHECK(contains(mistake(two_barriers, 64), "for all threads, but"));
    CHECK(contains(mistake(lanes_miss_shuffle, 32, values.data), "never come"));
    CHECK(contains(mistake(lane_not_in_mask, 32, values.data), "does not name itself"));
    CHECK(contains(mistake(reads_lane_outside, 32, values.data), "does not take part"));
    CHECK(contains(mistake(barrier_for_shuffle, 32, values.data), "never come"));
    // a block that ends in the middle of a warp
    CHECK(contains(mistake(collectives, 20, values.data), "does not have"));
    // and the device is as good as new
    launch(reverse_block, 1, 64, nullptr, values.data);
    CHECK(values.get()[0] == 63);
}

TEST_CASE("emulator: memory of the host is not memory of the device") {
    int host = 0;
    CHECK(contains(mistake(add_one, 1, &host), "not device memory"));
    Device value({0});
    CHECK_THROWS_AS(cudaMemset(&host, 0, sizeof(host)), std::logic_error);
    CHECK_THROWS_AS(cudaMemset(value.data, 0, 2 * sizeof(int)), std::logic_error);
    CHECK_THROWS_AS(cudaMemcpy(&host, &host, sizeof(int), cudaMemcpyHostToDevice),
                    std::logic_error);
    CHECK_THROWS_AS(cudaMemcpy(value.data, value.data, sizeof(int), cudaMemcpyDeviceToHost),
                    std::logic_error);
    // what was not written is NaNs
    float* memory = nullptr;
    REQUIRE(cudaMalloc(&memory, sizeof(float)) == cudaSuccess);
    float read = 0;
    cudaMemcpy(&read, memory, sizeof(float), cudaMemcpyDeviceToHost);
    CHECK(std::isnan(read));
    cudaFree(memory);
}

TEST_CASE("emulator: launches that a device refuses fail") {
    Device value({0});
    CHECK(launch(add_one, 1, 1025, nullptr, value.data) == cudaErrorInvalidConfiguration);
    CHECK(launch(add_one, 0, 32, nullptr, value.data) == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(value.get()[0] == 0);
}

TEST_CASE("emulator: another stream's work is there after an event, not before") {
    Device value({0});
    cudaStream_t first = nullptr;
    cudaStream_t second = nullptr;
    cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking);
    int* pinned = nullptr;
    REQUIRE(cudaMallocHost(&pinned, 2 * sizeof(int)) == cudaSuccess);
    launch(add_one, 1, 4, first, value.data);
    cudaMemcpyAsync(pinned, value.data, sizeof(int), cudaMemcpyDeviceToHost, second);
    cudaStreamSynchronize(second);
    CHECK(pinned[0] == 0);
    cudaEvent_t event = nullptr;
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaEventRecord(event, first);
    cudaStreamWaitEvent(second, event);
    cudaMemcpyAsync(pinned, value.data, sizeof(int), cudaMemcpyDeviceToHost, second);
    cudaStreamSynchronize(second);
    CHECK(pinned[0] == 4);
    cudaEventDestroy(event);
    cudaStreamDestroy(first);
    cudaStreamDestroy(second);
    cudaFreeHost(pinned);
}

}  // namespace eplb::test_emulator
