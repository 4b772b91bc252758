#ifndef EPLB_TESTS_KERNELS_CUDA_GPU_SUPPORT_H
#define EPLB_TESTS_KERNELS_CUDA_GPU_SUPPORT_H

#include <cmath>
#include <cstddef>
#include <list>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/backends.h"
#include "kernels/device_buffer.h"
#include "lib/base/parallel.h"
#include "tests/catch.h"
#include "tests/model/stored_matrix.h"

// What tests of a GPU share. They are built for the emulator, and for a real GPU where there is
// CUDA.
namespace eplb::test {

// As many as the machine has; up to four where they are emulated.
int num_test_gpus();

std::unique_ptr<Backend> make_gpu(ProductPrecision precision = ProductPrecision::fp32,
                                  std::size_t workspace_bytes = std::size_t{1} << 24,
                                  int device = 0);

// Memory of a backend for one test, and weights held there.
class TestMemory {
  public:
    explicit TestMemory(Backend& backend) : backend_(backend) {}
    ~TestMemory() { backend_.drop_weights(parts_); }
    TestMemory(const TestMemory&) = delete;
    TestMemory& operator=(const TestMemory&) = delete;

    // a copy of values
    template <typename T>
    T* put(const std::vector<T>& values) {
        T* const memory = room<T>(values.size());
        backend_.upload(values.data(), values.size() * sizeof(T), memory);
        return memory;
    }
    template <typename T>
    T* room(std::size_t size) {
        DeviceBuffer<std::byte>& buffer = buffers_.emplace_back(backend_);
        buffer.grow(std::max<std::size_t>(size * sizeof(T), 1));
        return reinterpret_cast<T*>(buffer.data());
    }
    template <typename T>
    std::vector<T> get(const T* memory, std::size_t size) {
        std::vector<T> values(size);
        backend_.download(memory, size * sizeof(T), values.data());
        return values;
    }

    void hold(std::span<const std::byte> part) {
        if (part.empty())
            return;
        const std::span<const std::byte> parts[] = {part};
        backend_.hold_weights(parts);
        parts_.push_back(part);
    }
    const float* hold(const std::vector<float>& values) {
        hold(std::as_bytes(std::span(values)));
        return values.empty() ? nullptr : values.data();
    }
    WeightMatrix hold(const StoredMatrix& matrix) {
        hold(std::span(matrix.data).subspan(1));
        if (!matrix.scales.empty())
            hold(std::span(matrix.scales).subspan(1));
        return matrix.view();
    }

  private:
    Backend& backend_;
    std::list<DeviceBuffer<std::byte>> buffers_;
    std::vector<std::span<const std::byte>> parts_;
};

// Values that agree but for `tolerance` times the largest of what is expected.
inline void check_close(const std::vector<float>& values,
                        const std::vector<float>& expected,
                        double tolerance) {
    REQUIRE(values.size() == expected.size());
    double largest = 0;
    for (const float value : expected)
        largest = std::max(largest, std::fabs(static_cast<double>(value)));
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double difference = std::fabs(static_cast<double>(values[i]) - expected[i]);
        // a NaN is worse than anything
        worst = difference <= worst ? worst : difference;
    }
    INFO("largest " << largest << ", worst difference " << worst);
    REQUIRE(worst <= tolerance * largest);
}

}  // namespace eplb::test

#endif
