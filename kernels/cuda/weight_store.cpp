#include "kernels/cuda/weight_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

constexpr std::size_t kStagingBytes = std::size_t{16} << 20;

std::uintptr_t key_of(const void* address) {
    return reinterpret_cast<std::uintptr_t>(address);
}

}  // namespace

WeightStore::WeightStore(CudaDevice& device)
    : device_(device),
      copies_(device),
      copied_(device, CudaEvent::Kind::ordering),
      used_(device, CudaEvent::Kind::ordering),
      staging_{Staging{PinnedMemory(device), CudaEvent(device, CudaEvent::Kind::ordering)},
               Staging{PinnedMemory(device), CudaEvent(device, CudaEvent::Kind::ordering)},
               Staging{PinnedMemory(device), CudaEvent(device, CudaEvent::Kind::ordering)},
               Staging{PinnedMemory(device), CudaEvent(device, CudaEvent::Kind::ordering)}},
      thread_([this] { copy_parts(); }) {}

WeightStore::~WeightStore() {
    {
        const std::lock_guard lock(mutex_);  // or the thread might begin to wait just now
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
    try {
        wait_for_uses();
    } catch (const Error&) {  // the GPU has failed, and computes nothing any more
    }
    for (const auto& [address, part] : parts_)
        static_cast<void>(cudaFreeAsync(part->memory, copies_.get()));
}

void WeightStore::hold(Backend::WeightParts parts) {
    std::size_t num_held = 0;
    try {
        for (; num_held < parts.size(); ++num_held)
            hold(parts[num_held]);
    } catch (...) {
        // nobody will drop what this call has held
        drop(parts.first(num_held));
        throw;
    }
}

void WeightStore::hold(std::span<const std::byte> host) {
    if (host.empty())
        return;
    if (const auto found = parts_.find(key_of(host.data())); found != parts_.end()) {
        if (found->second->host.size() != host.size())
            throw Error(
                "weights: a part is held a second time with another size; drop it "
                "before");
        ++found->second->num_holders;
        return;
    }
    auto part = std::make_shared<Part>();
    part->host = host;
    part->num_holders = 1;
    part->number = last_part_ + 1;
    // in the order of the copies: what was freed before is free when they begin
    void* const memory = device_.try_allocate(host.size(), copies_.get());
    if (memory == nullptr)
        throw Error("GPU " + std::to_string(device_.number()) + ": no room for " +
                    std::to_string(host.size()) +
                    " bytes of weights; hold fewer layers at once, or use more GPUs");
    part->memory = static_cast<std::byte*>(memory);
    parts_.emplace(key_of(host.data()), part);
    last_part_ = part->number;
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(part));
    }
    changed_.notify_all();
}

void WeightStore::drop(Backend::WeightParts parts) {
    // first what cannot fail: their host memory may end when this returns, or throws
    std::vector<std::shared_ptr<Part>> dropped;
    for (const std::span<const std::byte> host : parts) {
        const auto found = parts_.find(key_of(host.data()));
        if (found == parts_.end() || --found->second->num_holders > 0)
            continue;
        dropped.push_back(found->second);
        parts_.erase(found);
        forget(dropped.back());
    }
    wait_for_uses();
    for (const std::shared_ptr<Part>& part : dropped)
        device_.check(cudaFreeAsync(part->memory, copies_.get()), "cudaFreeAsync");
}

// Its host memory is not read any more. A copy that is under way ends early: nobody needs it.
void WeightStore::forget(const std::shared_ptr<Part>& part) {
    part->is_dropped = true;
    std::unique_lock lock(mutex_);
    const auto queued = std::find(queue_.begin(), queue_.end(), part);
    if (queued != queue_.end() && queued != queue_.begin())
        queue_.erase(queued);
    changed_.wait(lock, [&] {
        return failure_ || std::find(queue_.begin(), queue_.end(), part) == queue_.end();
    });
}

// What is freed now comes after all that may use it.
void WeightStore::wait_for_uses() {
    device_.check(cudaEventRecord(used_.get(), device_.stream()), "cudaEventRecord");
    device_.check(cudaStreamWaitEvent(copies_.get(), used_.get(), 0), "cudaStreamWaitEvent");
}

const std::byte* WeightStore::find(const std::byte* address) {
    auto next = parts_.upper_bound(key_of(address));
    if (address == nullptr || next == parts_.begin())
        return address;
    const Part& part = *std::prev(next)->second;
    const std::size_t offset = key_of(address) - key_of(part.host.data());
    if (offset >= part.host.size())
        return address;
    wait_for_copy(part.number);
    return part.memory + offset;
}

const float* WeightStore::find(const float* address) {
    const std::byte* const found = find(reinterpret_cast<const std::byte*>(address));
    if (reinterpret_cast<std::uintptr_t>(found) % alignof(float) != 0)
        throw Error(
            "weights: fp32 values stand at an odd place of a part; hold them as a part of "
            "their own");
    return reinterpret_cast<const float*>(found);
}

WeightMatrix WeightStore::find(const WeightMatrix& matrix) {
    WeightMatrix found = matrix;
    found.data = find(matrix.data);
    found.scales = find(matrix.scales);
    return found;
}

MlpWeights WeightStore::find(const MlpWeights& mlp) {
    MlpWeights found = mlp;
    found.gate = find(mlp.gate);
    found.up = find(mlp.up);
    found.down = find(mlp.down);
    found.gate_bias = find(mlp.gate_bias);
    found.up_bias = find(mlp.up_bias);
    found.down_bias = find(mlp.down_bias);
    return found;
}

// The thread may itself be waiting for what another device has to do first.
void WeightStore::wait_until_issued(std::unique_lock<std::mutex>& lock, long number) {
    constexpr auto kPause = std::chrono::milliseconds(10);
    while (!changed_.wait_for(lock, kPause, [&] { return failure_ || issued_part_ >= number; })) {
        lock.unlock();
        device_.check_others();
        lock.lock();
    }
}

// Makes the device's stream wait for the copies up to a part's. There is an event for all: it may
// stand for a few copies more than needed, at most what is in the staging memory.
void WeightStore::wait_for_copy(long number) {
    if (number <= ready_part_)
        return;
    long issued = 0;
    {
        std::unique_lock lock(mutex_);
        wait_until_issued(lock, number);
        if (failure_)
            std::rethrow_exception(failure_);
        issued = issued_part_;
    }
    device_.check(cudaEventRecord(copied_.get(), copies_.get()), "cudaEventRecord");
    device_.check(cudaStreamWaitEvent(device_.stream(), copied_.get(), 0), "cudaStreamWaitEvent");
    ready_part_ = issued;
}

// The thread.
void WeightStore::copy_parts() {
    std::unique_lock lock(mutex_);
    try {
        lock.unlock();
        device_.make_current();
        lock.lock();
        for (;;) {
            changed_.wait(lock, [&] { return stop_ || !queue_.empty(); });
            if (stop_)
                return;
            // it stays at the front while it is copied: drop() then waits
            const std::shared_ptr<const Part> part = queue_.front();
            lock.unlock();
            copy(*part);
            lock.lock();
            queue_.pop_front();
            issued_part_ = part->number;
            changed_.notify_all();
        }
    } catch (...) {
        if (!lock.owns_lock())
            lock.lock();
        failure_ = std::current_exception();
        changed_.notify_all();
    }
}

void WeightStore::copy(const Part& part) {
    for (std::size_t offset = 0; offset < part.host.size() && !stop_ && !part.is_dropped;) {
        if (staging_filled_ == kStagingBytes) {
            staging_filled_ = 0;
            staging_index_ = (staging_index_ + 1) % staging_.size();
        }
        Staging& staging = staging_[staging_index_];
        if (staging_filled_ == 0)  // the GPU must have fetched what is there
            device_.check(cudaEventSynchronize(staging.fetched.get()), "cudaEventSynchronize");
        std::byte* const pinned = staging.memory.grow(kStagingBytes) + staging_filled_;
        const std::size_t size =
            std::min(kStagingBytes - staging_filled_, part.host.size() - offset);
        std::memcpy(pinned, part.host.data() + offset, size);
        device_.check(cudaMemcpyAsync(part.memory + offset, pinned, size, cudaMemcpyHostToDevice,
                                      copies_.get()),
                      "cudaMemcpyAsync");
        device_.check(cudaEventRecord(staging.fetched.get(), copies_.get()), "cudaEventRecord");
        staging_filled_ += size;
        offset += size;
    }
}

}  // namespace eplb
