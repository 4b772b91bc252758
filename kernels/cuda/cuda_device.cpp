#include "kernels/cuda/cuda_device.h"

#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

std::string gpu_name(int number) {
    return "GPU " + std::to_string(number);
}

}  // namespace

CudaDevice::CudaDevice(int number) : number_(number) {
    make_current();
    int has_pools = 0;
    check(cudaDeviceGetAttribute(&has_pools, cudaDevAttrMemoryPoolsSupported, number_),
          "cudaDeviceGetAttribute");
    if (has_pools == 0)
        throw Error(gpu_name(number_) + ": its driver has no memory pools; run with " +
                    setting("backend") + " cpu or on another GPU");
    // what is released is used again, and not given back at the next wait
    check(cudaDeviceGetDefaultMemPool(&pool_, number_), "cudaDeviceGetDefaultMemPool");
    auto keep = std::numeric_limits<std::uint64_t>::max();
    check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep),
          "cudaMemPoolSetAttribute");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

CudaDevice::~CudaDevice() {
    // it does not wait for what the stream holds
    static_cast<void>(cudaStreamDestroy(stream_));
}

void CudaDevice::make_current() const {
    check(cudaSetDevice(number_), "cudaSetDevice");
}

cudaStream_t CudaDevice::stream() const {
    make_current();
    return stream_;
}

void CudaDevice::check(cudaError_t status, const char* call) const {
    if (status == cudaSuccess)
        return;
    static_cast<void>(cudaGetLastError());  // else the next launch would report it again
    throw Error(gpu_name(number_) + ": " + call + ": " + cudaGetErrorString(status) + " (error " +
                std::to_string(static_cast<int>(status)) + ")");
}

void CudaDevice::check(cublasStatus_t status, const char* call) const {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw Error(gpu_name(number_) + ": " + call + ": " + cublasGetStatusString(status));
}

void* CudaDevice::allocate(std::size_t num_bytes) {
    void* const memory = try_allocate(num_bytes, stream_);
    if (memory != nullptr)
        return memory;
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    throw Error(gpu_name(number_) + ": cannot allocate " + std::to_string(num_bytes) + " bytes, " +
                std::to_string(free) + " of " + std::to_string(total) + " are free; lower " +
                setting("max_num_tokens") + " or use more GPUs");
}

void* CudaDevice::try_allocate(std::size_t num_bytes, cudaStream_t stream) {
    make_current();
    void* memory = nullptr;
    const std::size_t size = num_bytes == 0 ? 1 : num_bytes;
    cudaError_t status = cudaMallocAsync(&memory, size, stream);
    if (status == cudaErrorMemoryAllocation) {
        // what was released may be kept in pieces too small
        static_cast<void>(cudaGetLastError());
        wait();
        if (stream != stream_)
            wait_until([&] { return cudaStreamQuery(stream); }, "cudaStreamQuery");
        check(cudaMemPoolTrimTo(pool_, 0), "cudaMemPoolTrimTo");
        status = cudaMallocAsync(&memory, size, stream);
    }
    if (status == cudaErrorMemoryAllocation) {
        static_cast<void>(cudaGetLastError());
        return nullptr;
    }
    check(status, "cudaMallocAsync");
    return memory;
}

void CudaDevice::release(void* memory) noexcept {
    if (memory == nullptr)
        return;
    static_cast<void>(cudaSetDevice(number_));
    static_cast<void>(cudaFreeAsync(memory, stream_));
}

void* CudaDevice::allocate_host(std::size_t num_bytes) const {
    make_current();
    void* memory = nullptr;
    check(cudaMallocHost(&memory, num_bytes), "cudaMallocHost");
    return memory;
}

void CudaDevice::release_host(void* memory) const noexcept {
    if (memory != nullptr)
        static_cast<void>(cudaFreeHost(memory));
}

template <typename Query>
void CudaDevice::wait_until(const Query& query, const char* call) const {
    using Clock = std::chrono::steady_clock;
    constexpr auto kBusy = std::chrono::microseconds(100);
    constexpr auto kPause = std::chrono::microseconds(50);
    make_current();
    const Clock::time_point start = Clock::now();
    cudaError_t status = query();
    // most waits are short; long ones leave the processor to the thread that reads weights
    while (status == cudaErrorNotReady) {
        if (Clock::now() - start > kBusy) {
            check_others();
            std::this_thread::sleep_for(kPause);
        }
        status = query();
    }
    if (status != cudaSuccess)
        check_others();  // another device's end may be the cause, and says more
    check(status, call);
}

void CudaDevice::wait() const {
    wait_until([&] { return cudaStreamQuery(stream_); }, "cudaStreamQuery");
}

void CudaDevice::wait(cudaEvent_t event) const {
    wait_until([&] { return cudaEventQuery(event); }, "cudaEventQuery");
}

void* CudaWorkspace::grow(std::size_t num_bytes) {
    if (num_bytes > num_bytes_ || memory_ == nullptr) {
        device_.release(memory_);
        memory_ = nullptr;
        num_bytes_ = 0;
        memory_ = device_.allocate(num_bytes);
        num_bytes_ = num_bytes;
    }
    return memory_;
}

CudaEvent::CudaEvent(const CudaDevice& device, Kind kind) {
    device.make_current();
    device.check(cudaEventCreateWithFlags(
                     &event_, kind == Kind::timed ? cudaEventDefault : cudaEventDisableTiming),
                 "cudaEventCreateWithFlags");
}

CudaEvent::~CudaEvent() {
    if (event_ != nullptr)
        static_cast<void>(cudaEventDestroy(event_));
}

CudaStream::CudaStream(const CudaDevice& device) {
    device.make_current();
    device.check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
                 "cudaStreamCreateWithFlags");
}

CudaStream::~CudaStream() {
    static_cast<void>(cudaStreamDestroy(stream_));
}

std::byte* PinnedMemory::grow(std::size_t num_bytes) {
    if (num_bytes > num_bytes_) {
        device_.release_host(std::exchange(memory_, nullptr));
        num_bytes_ = 0;
        memory_ = static_cast<std::byte*>(device_.allocate_host(num_bytes));
        num_bytes_ = num_bytes;
    }
    return memory_;
}

}  // namespace eplb
