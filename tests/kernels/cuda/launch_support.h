#ifndef EPLB_TESTS_KERNELS_CUDA_LAUNCH_SUPPORT_H
#define EPLB_TESTS_KERNELS_CUDA_LAUNCH_SUPPORT_H

#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "tests/catch.h"

// For tests that call launch functions themselves.
namespace eplb::test {

// Values in device memory, exactly as many as asked for.
template <typename T>
class DeviceArray {
  public:
    explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
        allocate();
        if (size_ > 0)
            REQUIRE(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) ==
                    cudaSuccess);
    }
    explicit DeviceArray(std::size_t size) : size_(size) { allocate(); }
    ~DeviceArray() { cudaFree(data_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() { return static_cast<T*>(data_); }

    std::vector<T> get() const {
        std::vector<T> values(size_);
        if (size_ > 0)
            REQUIRE(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost) ==
                    cudaSuccess);
        return values;
    }

  private:
    void allocate() {
        if (size_ > 0)
            REQUIRE(cudaMalloc(&data_, size_ * sizeof(T)) == cudaSuccess);
    }

    void* data_ = nullptr;
    std::size_t size_;
};

}  // namespace eplb::test

#endif
