#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/kernel_launch.h"
#include "tests/cuda_emulator/runtime_state.h"

// Streams and events.
struct CUstream_st {
    // The first piece says whether it is done; else it stays and is run again.
    std::deque<std::function<bool()>> work;
    bool is_running = false;  // the first piece
    int device = 0;
    std::thread::id maker = std::this_thread::get_id();
};

struct CUevent_st {
    // the times it was put into a stream, and the last of these that was reached there
    std::int64_t num_records = 0;
    std::int64_t num_reached = 0;
    cudaStream_t stream = nullptr;
    std::chrono::steady_clock::time_point time;
};

namespace cuda_emulator {
namespace {

struct Runtime {
    // Held while work runs too: only one thread at a time runs any. No work waits for a thread.
    std::recursive_mutex mutex;
    std::set<cudaStream_t> streams;
    std::map<int, std::unique_ptr<CUstream_st>> default_streams;  // by device
};

Runtime& runtime() {
    static Runtime all;
    return all;
}

// the stream itself; for null the device's default stream
CUstream_st& stream_of(cudaStream_t stream) {
    const std::lock_guard lock(runtime().mutex);
    if (stream != nullptr) {
        if (runtime().streams.count(stream) == 0)
            misuse("a stream is used that does not exist");
        return *stream;
    }
    std::unique_ptr<CUstream_st>& made = runtime().default_streams[current_device()];
    if (made == nullptr)
        made = std::make_unique<CUstream_st>();
    return *made;
}

// Runs the first piece of work. Whether there was one.
bool run_one(CUstream_st& stream) {
    const std::lock_guard lock(runtime().mutex);
    if (stream.work.empty())
        return false;
    if (stream.is_running)
        return true;  // it waits for what called this
    const auto work = stream.work.front();
    bool is_done = true;
    const auto end = [&] {
        stream.is_running = false;
        if (is_done)
            stream.work.pop_front();
    };
    stream.is_running = true;
    try {
        is_done = work();
    } catch (...) {
        end();
        throw;
    }
    end();
    return true;
}

void run_all(CUstream_st& stream) {
    while (run_one(stream))
        std::this_thread::yield();
}

// The streams that this thread has made for its device.
std::vector<cudaStream_t> streams_of_thread() {
    const std::lock_guard lock(runtime().mutex);
    std::vector<cudaStream_t> found;
    for (const cudaStream_t stream : runtime().streams)
        if (stream->device == current_device() && stream->maker == std::this_thread::get_id())
            found.push_back(stream);
    return found;
}

// Runs a piece of the work before the event, and says whether it is reached then; a stream's work
// keeps its order.
bool approach(cudaEvent_t event, std::int64_t record) {
    const std::lock_guard lock(runtime().mutex);
    if (event->num_reached < record && !run_one(stream_of(event->stream)))
        misuse("an event is waited for that no stream holds");
    return event->num_reached >= record;
}

void reach(cudaEvent_t event, std::int64_t record) {
    while (!approach(event, record))
        std::this_thread::yield();
}

}  // namespace

void enqueue_until_done(cudaStream_t stream, std::function<bool()> work) {
    const std::lock_guard lock(runtime().mutex);
    if (stream != nullptr) {
        stream_of(stream).work.push_back(std::move(work));
        return;
    }
    while (!work()) {
    }
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
    enqueue_until_done(stream, [work = std::move(work)] {
        work();
        return true;
    });
}

void advance(CUstream_st* stream) {
    const std::lock_guard lock(runtime().mutex);
    if (runtime().streams.count(stream) != 0)
        run_one(*stream);
}

void run_streams() {
    for (const cudaStream_t stream : streams_of_thread())
        run_all(*stream);
}

cudaError_t check_launch(const cudaLaunchConfig_t& config) {
    constexpr std::size_t kMostSharedSize = std::size_t{48} << 10;
    const dim3& grid = config.gridDim;
    const dim3& threads = config.blockDim;
    if (grid.x == 0 || grid.x > 0x7fffffffU || grid.y == 0 || grid.y > 65535 || grid.z == 0 ||
        grid.z > 65535 || threads.x == 0 || threads.y == 0 || threads.z == 0 || threads.z > 64 ||
        threads.x * threads.y * threads.z > 1024)
        return failed(cudaErrorInvalidConfiguration);
    return config.dynamicSmemBytes > kMostSharedSize ? failed(cudaErrorInvalidValue) : cudaSuccess;
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

cudaError_t cudaDeviceSynchronize() {
    run_streams();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (num_bytes == 0)
        return cudaSuccess;
    const bool to_device = kind != cudaMemcpyDeviceToHost;
    const bool from_device = kind != cudaMemcpyHostToDevice;
    if (to_device)
        require_device_memory(to, num_bytes, "where a copy goes");
    else if (is_device_memory(to))
        misuse("a copy to the host goes to device memory");
    if (from_device)
        require_device_memory(from, num_bytes, "what is copied");
    else if (is_device_memory(from))
        misuse("a copy from the host reads device memory");

    // memory that is not pinned: what is sent has been read when the call returns, what is received
    // is there
    if (!from_device && !is_pinned_memory(from)) {
        const auto* const bytes = static_cast<const std::byte*>(from);
        enqueue(stream, [to, staged = std::vector<std::byte>(bytes, bytes + num_bytes)] {
            std::memcpy(to, staged.data(), staged.size());
        });
    } else {
        enqueue(stream, [=] { std::memmove(to, from, num_bytes); });
    }
    if (!to_device && !is_pinned_memory(to))
        run_all(stream_of(stream));
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, num_bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t num_bytes, cudaStream_t stream) {
    require_device_memory(memory, num_bytes, "what is set");
    enqueue(stream, [=] {
        if (num_bytes > 0)
            std::memset(memory, value, num_bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaMemset(void* memory, int value, std::size_t num_bytes) {
    return cudaMemsetAsync(memory, value, num_bytes, nullptr);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    if (flags != cudaStreamNonBlocking)
        misuse("a stream is made that waits for the default stream");
    *stream = new CUstream_st;
    (*stream)->device = current_device();
    const std::lock_guard lock(runtime().mutex);
    runtime().streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    CUstream_st& known = stream_of(stream);
    if (stream == nullptr)
        return failed(cudaErrorInvalidResourceHandle);
    run_all(known);
    const std::lock_guard lock(runtime().mutex);
    runtime().streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (stream == nullptr)
        return cudaDeviceSynchronize();
    run_all(stream_of(stream));
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return run_one(stream_of(stream)) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
    if (event->num_records > 0)  // else there is nothing to wait for
        enqueue_until_done(
            stream, [event, record = event->num_records] { return approach(event, record); });
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
    *event = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event == nullptr)
        return failed(cudaErrorInvalidResourceHandle);
    // whoever waits for it still may
    reach(event, event->num_records);
    run_streams();
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const std::lock_guard lock(runtime().mutex);
    event->stream = stream;
    const std::int64_t record = ++event->num_records;
    enqueue(stream, [event, record] {
        event->num_reached = record;
        event->time = std::chrono::steady_clock::now();
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    reach(event, event->num_records);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    const std::lock_guard lock(runtime().mutex);
    if (event->num_reached == event->num_records)
        return cudaSuccess;
    run_one(stream_of(event->stream));
    return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    if (begin->num_records == 0 || end->num_records == 0)
        return failed(cudaErrorInvalidResourceHandle);
    if (begin->num_reached != begin->num_records || end->num_reached != end->num_records)
        return failed(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return cudaSuccess;
}
