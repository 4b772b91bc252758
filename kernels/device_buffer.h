#ifndef EPLB_KERNELS_DEVICE_BUFFER_H
#define EPLB_KERNELS_DEVICE_BUFFER_H

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace eplb {

// Values in a backend's memory. It only grows; what is new is not initialised.
template <typename T>
class DeviceBuffer {
  public:
    explicit DeviceBuffer(Backend& backend) : backend_(&backend) {}
    ~DeviceBuffer() { clear(); }
    DeviceBuffer(DeviceBuffer&& other) noexcept
        : backend_(other.backend_),
          data_(std::exchange(other.data_, nullptr)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
        std::swap(backend_, other.backend_);
        std::swap(data_, other.data_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }

    T* data() const { return data_; }
    std::size_t capacity() const { return capacity_; }

    // Room for `size` values. What it held is lost where it has to move.
    void grow(std::size_t size) {
        if (size <= capacity_)
            return;
        clear();
        data_ = static_cast<T*>(backend_->allocate(size * sizeof(T)));
        capacity_ = size;
    }

    // Room for `size` values, the first num_kept of which stay.
    void extend(std::size_t size, std::size_t num_kept) requires(sizeof(T) == sizeof(float)) {
        if (size <= capacity_)
            return;
        DeviceBuffer larger(*backend_);
        larger.grow(size);
        if (num_kept > 0) {
            // rows, since a row's size is an int
            constexpr std::size_t kRow = 1024;
            const auto* const from = reinterpret_cast<const float*>(data_);
            auto* const to = reinterpret_cast<float*>(larger.data_);
            const std::size_t whole = num_kept / kRow * kRow;
            backend_->copy_rows({.num_rows = static_cast<std::int64_t>(num_kept / kRow),
                                 .size = kRow,
                                 .from_stride = kRow,
                                 .to_stride = kRow},
                                from, to);
            const auto rest = static_cast<int>(num_kept - whole);
            backend_->copy_rows(
                {.num_rows = 1, .size = rest, .from_stride = rest, .to_stride = rest}, from + whole,
                to + whole);
        }
        *this = std::move(larger);
    }

    void upload(std::span<const T> values) {
        grow(values.size());
        backend_->upload(values.data(), values.size_bytes(), data_);
    }
    void download(std::span<T> values) const {
        backend_->download(data_, values.size_bytes(), values.data());
    }

    void clear() {
        if (data_ != nullptr)
            backend_->release(data_);
        data_ = nullptr;
        capacity_ = 0;
    }

  private:
    Backend* backend_;
    T* data_ = nullptr;
    std::size_t capacity_ = 0;
};

// Values in host memory that a device writes to by itself. It only grows, and loses what it held.
template <typename T>
class HostBuffer {
  public:
    explicit HostBuffer(Backend& backend) : backend_(backend) {}
    ~HostBuffer() { clear(); }
    HostBuffer(const HostBuffer&) = delete;
    HostBuffer& operator=(const HostBuffer&) = delete;

    void grow(std::size_t size) {
        if (size <= capacity_)
            return;
        clear();
        data_ = static_cast<T*>(backend_.allocate_host(size * sizeof(T)));
        capacity_ = size;
    }

    std::span<T> first(std::size_t size) const { return {data_, size}; }

    // What device memory holds, as Backend::start_download().
    void start_download(const DeviceBuffer<T>& from, std::size_t size) {
        grow(size);
        backend_.start_download(from.data(), size * sizeof(T), data_);
    }

  private:
    void clear() {
        if (data_ != nullptr)
            backend_.release_host(data_);
        data_ = nullptr;
        capacity_ = 0;
    }

    Backend& backend_;
    T* data_ = nullptr;
    std::size_t capacity_ = 0;
};

// What device memory holds, as the host sees it: in place, or a copy that was waited for.
template <typename T>
class HostView {
  public:
    HostView(Backend& backend, const T* memory, std::size_t size)
        : values_(static_cast<const T*>(backend.host_address(memory)), size) {
        if (values_.data() != nullptr || size == 0)
            return;
        copy_.resize(size);
        backend.download(memory, size * sizeof(T), copy_.data());
        values_ = copy_;
    }
    HostView(const HostView&) = delete;
    HostView& operator=(const HostView&) = delete;

    std::span<const T> values() const { return values_; }

  private:
    std::vector<T> copy_;
    std::span<const T> values_;
};

}  // namespace eplb

#endif
