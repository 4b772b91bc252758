#ifndef EPLB_KERNELS_CUDA_CUDA_DEVICE_H
#define EPLB_KERNELS_CUDA_CUDA_DEVICE_H

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <utility>

namespace eplb {

// One GPU and the stream in which a backend's work is done, in order. It checks calls and waits.
class CudaDevice {
  public:
    explicit CudaDevice(int number);
    ~CudaDevice();
    CudaDevice(const CudaDevice&) = delete;
    CudaDevice& operator=(const CudaDevice&) = delete;

    int number() const { return number_; }

    // The stream, for a call by this thread: CUDA remembers per thread which GPU is meant.
    cudaStream_t stream() const;
    void make_current() const;

    // An Error names the call and the GPU.
    void check(cudaError_t status, const char* call) const;
    void check(cublasStatus_t status, const char* call) const;

    // In the order of the stream; aligned to 256 bytes.
    void* allocate(std::size_t num_bytes);
    // In the order of any stream. Null where there is no memory.
    void* try_allocate(std::size_t num_bytes, cudaStream_t stream);
    void release(void* memory) noexcept;

    // Memory of the host that a GPU reads and writes by itself. Getting it may wait for the GPU.
    void* allocate_host(std::size_t num_bytes) const;
    void release_host(void* memory) const noexcept;

    // Waits for what the stream holds, or for an event. Meanwhile wait_check is called now and
    // then: it may throw, which ends the wait. Another device's end must not make this one wait for
    // ever.
    void wait() const;
    void wait(cudaEvent_t event) const;
    void set_wait_check(std::function<void()> wait_check) { wait_check_ = std::move(wait_check); }

    // Once in such a wait of the caller's own.
    void check_others() const {
        if (wait_check_)
            wait_check_();
    }

  private:
    template <typename Query>
    void wait_until(const Query& query, const char* call) const;

    int number_;
    cudaStream_t stream_ = nullptr;
    cudaMemPool_t pool_ = nullptr;  // the GPU's own
    std::function<void()> wait_check_;
};

// Device memory that is kept between calls and only grows; what it held is then lost.
class CudaWorkspace {
  public:
    explicit CudaWorkspace(CudaDevice& device) : device_(device) {}
    ~CudaWorkspace() { device_.release(memory_); }
    CudaWorkspace(const CudaWorkspace&) = delete;
    CudaWorkspace& operator=(const CudaWorkspace&) = delete;

    void* grow(std::size_t num_bytes);
    template <typename T>
    T* grow(std::size_t size) {
        return static_cast<T*>(grow(size * sizeof(T)));
    }
    void* data() const { return memory_; }

  private:
    CudaDevice& device_;
    void* memory_ = nullptr;
    std::size_t num_bytes_ = 0;
};

class CudaEvent {
  public:
    // Timed events can be subtracted, and cost a little more.
    enum class Kind { ordering, timed };
    CudaEvent(const CudaDevice& device, Kind kind);
    ~CudaEvent();
    CudaEvent(CudaEvent&& other) noexcept : event_(other.event_) { other.event_ = nullptr; }
    CudaEvent& operator=(CudaEvent&& other) noexcept {
        std::swap(event_, other.event_);
        return *this;
    }

    cudaEvent_t get() const { return event_; }

  private:
    cudaEvent_t event_ = nullptr;
};

class CudaStream {
  public:
    explicit CudaStream(const CudaDevice& device);
    ~CudaStream();
    CudaStream(const CudaStream&) = delete;
    CudaStream& operator=(const CudaStream&) = delete;

    cudaStream_t get() const { return stream_; }

  private:
    cudaStream_t stream_ = nullptr;
};

// Host memory as CudaDevice::allocate_host() gives it. Any thread may have some.
class PinnedMemory {
  public:
    explicit PinnedMemory(const CudaDevice& device) : device_(device) {}
    ~PinnedMemory() { device_.release_host(memory_); }
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;

    std::byte* grow(std::size_t num_bytes);
    std::byte* data() const { return memory_; }

  private:
    const CudaDevice& device_;
    std::byte* memory_ = nullptr;
    std::size_t num_bytes_ = 0;
};

}  // namespace eplb

#endif
