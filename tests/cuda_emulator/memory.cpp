#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/runtime_state.h"

// Devices, memory and copies that wait.
namespace cuda_emulator {
namespace {

enum class MemoryKind { device, pinned };

struct Allocation {
    std::size_t num_bytes;
    MemoryKind kind;
    int device;
};

struct Memory {
    std::mutex mutex;
    std::map<std::uintptr_t, Allocation> allocations;  // by address
    std::map<int, std::size_t> used;                   // by device
    std::size_t size = std::numeric_limits<std::size_t>::max() / 2;
    int num_devices = 1;

    // what holds the address; allocations.end() if nothing does
    auto find(const void* pointer) {
        const auto address = reinterpret_cast<std::uintptr_t>(pointer);
        auto next = allocations.upper_bound(address);
        if (next == allocations.begin())
            return allocations.end();
        --next;
        return address - next->first < next->second.num_bytes ? next : allocations.end();
    }
};

Memory& memory() {
    static Memory all;
    return all;
}

thread_local int device = 0;
thread_local cudaError_t last_error = cudaSuccess;

bool is_of_kind(const void* pointer, bool of_device) {
    const std::lock_guard lock(memory().mutex);
    const auto found = memory().find(pointer);
    return found != memory().allocations.end() &&
           (found->second.kind == MemoryKind::device) == of_device;
}

cudaError_t allocate(void** pointer, std::size_t num_bytes, MemoryKind kind) {
    constexpr std::size_t kAlignment = 256;
    *pointer = nullptr;
    if (num_bytes == 0)
        return cudaSuccess;
    const std::lock_guard lock(memory().mutex);
    if (kind == MemoryKind::device && memory().used[device] + num_bytes > memory().size)
        return failed(cudaErrorMemoryAllocation);
    if (posix_memalign(pointer, kAlignment, num_bytes) != 0)
        return failed(cudaErrorMemoryAllocation);
    std::memset(*pointer, 0xff, num_bytes);  // NaNs, -1
    memory().allocations[reinterpret_cast<std::uintptr_t>(*pointer)] = {num_bytes, kind, device};
    if (kind == MemoryKind::device)
        memory().used[device] += num_bytes;
    return cudaSuccess;
}

cudaError_t release(void* pointer, MemoryKind kind) {
    if (pointer == nullptr)
        return cudaSuccess;
    const std::lock_guard lock(memory().mutex);
    const auto found = memory().allocations.find(reinterpret_cast<std::uintptr_t>(pointer));
    if (found == memory().allocations.end() || found->second.kind != kind)
        return failed(cudaErrorInvalidValue);
    if (kind == MemoryKind::device) {
        memory().used[found->second.device] -= found->second.num_bytes;
        std::memset(pointer, 0xff, found->second.num_bytes);  // whoever still reads it sees NaNs
    }
    memory().allocations.erase(found);
    std::free(pointer);
    return cudaSuccess;
}

}  // namespace

void misuse(const std::string& what) {
    throw std::logic_error("CUDA emulator: " + what);
}

void set_device_count(int count) {
    memory().num_devices = count;
}

int device_count() {
    return memory().num_devices;
}

void set_memory_size(std::size_t num_bytes) {
    memory().size = num_bytes;
}

int num_allocations() {
    const std::lock_guard lock(memory().mutex);
    return static_cast<int>(memory().allocations.size());
}

bool is_device_memory(const void* pointer) {
    return is_of_kind(pointer, true);
}

bool is_pinned_memory(const void* pointer) {
    return is_of_kind(pointer, false);
}

void require_device_memory(const void* pointer, std::size_t num_bytes, const std::string& what) {
    if (num_bytes == 0)
        return;
    const std::lock_guard lock(memory().mutex);
    const auto found = memory().find(pointer);
    if (found == memory().allocations.end() || found->second.kind != MemoryKind::device)
        misuse(what + " is not device memory");
    const std::size_t offset = reinterpret_cast<std::uintptr_t>(pointer) - found->first;
    if (found->second.num_bytes - offset < num_bytes)
        misuse(what + " ends before the bytes that are used");
}

cudaError_t failed(cudaError_t error) {
    return last_error = error;
}

int current_device() {
    return device;
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

cudaError_t cudaGetLastError() {
    return std::exchange(last_error, cudaSuccess);
}

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
#define NAME(error) \
    case error:     \
        return #error
        NAME(cudaSuccess);
        NAME(cudaErrorInvalidValue);
        NAME(cudaErrorMemoryAllocation);
        NAME(cudaErrorInvalidConfiguration);
        NAME(cudaErrorInsufficientDriver);
        NAME(cudaErrorNoDevice);
        NAME(cudaErrorInvalidDevice);
        NAME(cudaErrorInvalidResourceHandle);
        NAME(cudaErrorNotReady);
#undef NAME
    }
    return "unknown error";
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = device_count();
    return *count == 0 ? failed(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaSetDevice(int chosen) {
    if (chosen < 0 || chosen >= device_count())
        return failed(cudaErrorInvalidDevice);
    device = chosen;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int of_device) {
    if (of_device < 0 || of_device >= device_count())
        return failed(cudaErrorInvalidDevice);
    *value = attribute == cudaDevAttrMemoryPoolsSupported ? 1 : 0;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, std::size_t num_bytes) {
    return allocate(pointer, num_bytes, MemoryKind::device);
}

cudaError_t cudaFree(void* pointer) {
    run_streams();
    return release(pointer, MemoryKind::device);
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t num_bytes, cudaStream_t /*stream*/) {
    if (num_bytes == 0)
        return failed(cudaErrorInvalidValue);
    const cudaError_t error = allocate(pointer, num_bytes, MemoryKind::device);
    if (error == cudaSuccess)
        return error;
    run_streams();  // what they free is free then
    cudaGetLastError();
    return allocate(pointer, num_bytes, MemoryKind::device);
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
    require_device_memory(pointer, 1, "what is freed");
    enqueue(stream, [pointer] { release(pointer, MemoryKind::device); });
    return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int of_device) {
    *pool = nullptr;
    return of_device < 0 || of_device >= device_count() ? failed(cudaErrorInvalidDevice)
                                                        : cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t /*pool*/, std::size_t /*num_bytes*/) {
    return cudaSuccess;  // nothing is kept
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t /*pool*/,
                                    cudaMemPoolAttr /*attribute*/,
                                    void* /*value*/) {
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** pointer, std::size_t num_bytes) {
    return allocate(pointer, num_bytes, MemoryKind::pinned);
}

cudaError_t cudaFreeHost(void* pointer) {
    run_streams();
    return release(pointer, MemoryKind::pinned);
}

cudaError_t cudaMemGetInfo(std::size_t* num_free, std::size_t* num_total) {
    const std::lock_guard lock(memory().mutex);
    *num_total = memory().size;
    *num_free = memory().size - memory().used[device];
    return cudaSuccess;
}
