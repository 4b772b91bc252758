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

// Streams, events and graphs.
namespace cuda_emulator {
namespace {

// Says whether it is done; else it stays first in its stream and is run again.
using Work = std::function<bool()>;

// What is recorded between begin and end. Streams that wait for an event of it take part in it.
struct Capture {
    cudaStream_t origin;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool invalidated = false;
    std::vector<Work> work;
    std::set<cudaStream_t> unjoined;  // whose work the origin does not wait for
};

}  // namespace
}  // namespace cuda_emulator

struct CUstream_st {
    std::deque<cuda_emulator::Work> work;
    bool is_running = false;  // the first piece
    std::shared_ptr<cuda_emulator::Capture> capture;
    bool blocking = true;  // waits for the default stream
    int device = 0;
    std::thread::id maker = std::this_thread::get_id();
};

struct CUevent_st {
    // the times it was put into a stream, and the last of these that was reached there
    std::int64_t num_records = 0;
    std::int64_t num_reached = 0;
    cudaStream_t stream = nullptr;
    std::weak_ptr<cuda_emulator::Capture> capture;  // where it was recorded in one
    std::chrono::steady_clock::time_point time;
};

struct CUgraph_st {
    std::vector<cuda_emulator::Work> work;
};

struct CUgraphExec_st {
    std::vector<cuda_emulator::Work> work;
};

namespace cuda_emulator {
namespace {

struct Runtime {
    // Held while work runs too: only one thread at a time runs any. No work waits for a thread.
    std::recursive_mutex mutex;
    std::set<cudaStream_t> streams;
    std::set<std::shared_ptr<Capture>> captures;
    std::map<int, std::unique_ptr<CUstream_st>> default_streams;  // by device
    std::map<const void*, int> dynamic_shared_sizes;              // by kernel
    std::int64_t num_launches = 0;
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
    const Work work = stream.work.front();
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

// Puts work into a stream or its capture.
cudaError_t submit_until_done(cudaStream_t handle, Work work) {
    const std::lock_guard lock(runtime().mutex);
    CUstream_st& stream = stream_of(handle);
    if (stream.capture != nullptr) {
        if (stream.capture->invalidated)
            return failed(cudaErrorStreamCaptureInvalidated);
        stream.capture->work.push_back(std::move(work));
        return cudaSuccess;
    }
    if (handle == nullptr) {
        // the default stream waits for the others, and they for it
        for (const std::shared_ptr<Capture>& capture : runtime().captures)
            if (capture->origin->blocking && capture->origin->device == current_device()) {
                capture->invalidated = true;
                return failed(cudaErrorStreamCaptureImplicit);
            }
        for (const cudaStream_t other : streams_of_thread())
            if (other->blocking)
                run_all(*other);
        while (!work()) {
        }
        return cudaSuccess;
    }
    stream.work.push_back(std::move(work));
    return cudaSuccess;
}

cudaError_t submit(cudaStream_t stream, const std::function<void()>& work) {
    return submit_until_done(stream, [work] {
        work();
        return true;
    });
}

cudaError_t check_stream_not_capturing(CUstream_st& stream) {
    if (stream.capture == nullptr)
        return cudaSuccess;
    stream.capture->invalidated = true;
    return failed(cudaErrorStreamCaptureUnsupported);
}

double seconds_between(const CUevent_st& begin, const CUevent_st& end) {
    return std::chrono::duration<double>(end.time - begin.time).count();
}

struct Copy {
    void* to;
    std::size_t to_pitch;
    const void* from;
    std::size_t from_pitch;
    std::size_t width;
    std::size_t height;

    std::size_t to_bytes() const { return height == 0 ? 0 : (height - 1) * to_pitch + width; }
    std::size_t from_bytes() const { return height == 0 ? 0 : (height - 1) * from_pitch + width; }
    void run() const {
        if (width == 0)
            return;
        for (std::size_t row = 0; row < height; ++row)
            std::memmove(static_cast<std::byte*>(to) + row * to_pitch,
                         static_cast<const std::byte*>(from) + row * from_pitch, width);
    }
};

cudaError_t copy_async(Copy copy, cudaMemcpyKind kind, cudaStream_t stream) {
    if (copy.height > 1 && (copy.width > copy.to_pitch || copy.width > copy.from_pitch))
        return failed(cudaErrorInvalidValue);
    if (copy.width == 0 || copy.height == 0)
        return cudaSuccess;
    const bool to_device = kind == cudaMemcpyDefault
                               ? is_device_memory(copy.to)
                               : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDefault ? is_device_memory(copy.from)
                                                       : kind == cudaMemcpyDeviceToHost ||
                                                             kind == cudaMemcpyDeviceToDevice;
    if (to_device)
        require_device_memory(copy.to, copy.to_bytes(), "where a copy goes");
    else if (is_device_memory(copy.to))
        misuse("a copy to the host goes to device memory");
    if (from_device)
        require_device_memory(copy.from, copy.from_bytes(), "what is copied");
    else if (is_device_memory(copy.from))
        misuse("a copy from the host reads device memory");

    // memory that is not pinned: what is sent has been read when the call returns, what is received
    // is there
    const bool reads_pageable = !from_device && !is_pinned_memory(copy.from);
    const bool writes_pageable = !to_device && !is_pinned_memory(copy.to);
    if (reads_pageable || writes_pageable)
        if (const cudaError_t error = check_stream_not_capturing(stream_of(stream));
            error != cudaSuccess)
            return error;
    if (reads_pageable) {
        const auto* const bytes = static_cast<const std::byte*>(copy.from);
        const auto staged =
            std::make_shared<std::vector<std::byte>>(bytes, bytes + copy.from_bytes());
        copy.from = staged->data();
        const cudaError_t error = submit(stream, [copy, staged] { copy.run(); });
        if (writes_pageable)
            run_all(stream_of(stream));
        return error;
    }
    const cudaError_t error = submit(stream, [copy] { copy.run(); });
    if (writes_pageable)
        run_all(stream_of(stream));
    return error;
}

}  // namespace

int enqueue(CUstream_st* stream, std::function<void()> work) {
    return submit(stream, work);
}

int enqueue_until_done(CUstream_st* stream, std::function<bool()> work) {
    return submit_until_done(stream, std::move(work));
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

cudaError_t check_not_capturing() {
    const std::lock_guard lock(runtime().mutex);
    for (const std::shared_ptr<Capture>& capture : runtime().captures)
        if (capture->mode == cudaStreamCaptureModeGlobal ||
            (capture->mode == cudaStreamCaptureModeThreadLocal &&
             capture->thread == std::this_thread::get_id())) {
            capture->invalidated = true;
            return failed(cudaErrorStreamCaptureUnsupported);
        }
    return cudaSuccess;
}

cudaError_t check_launch(const void* kernel, const cudaLaunchConfig_t& config) {
    constexpr std::size_t kUsualSharedSize = std::size_t{48} << 10;
    const dim3& grid = config.gridDim;
    const dim3& block = config.blockDim;
    if (grid.x == 0 || grid.x > 0x7fffffffU || grid.y == 0 || grid.y > 65535 || grid.z == 0 ||
        grid.z > 65535 || block.x == 0 || block.y == 0 || block.z == 0 || block.z > 64 ||
        block.x * block.y * block.z > 1024)
        return failed(cudaErrorInvalidConfiguration);
    const std::lock_guard lock(runtime().mutex);
    const auto allowed = runtime().dynamic_shared_sizes.find(kernel);
    if (config.dynamicSmemBytes > (allowed == runtime().dynamic_shared_sizes.end()
                                       ? kUsualSharedSize
                                       : static_cast<std::size_t>(allowed->second)))
        return failed(cudaErrorInvalidValue);
    ++runtime().num_launches;
    return cudaSuccess;
}

cudaError_t set_dynamic_shared_size(const void* kernel, int num_bytes) {
    constexpr int kMostSharedSize = 227 << 10;
    if (num_bytes < 0 || num_bytes > kMostSharedSize)
        return failed(cudaErrorInvalidValue);
    const std::lock_guard lock(runtime().mutex);
    runtime().dynamic_shared_sizes[kernel] = num_bytes;
    return cudaSuccess;
}

std::int64_t num_launches() {
    const std::lock_guard lock(runtime().mutex);
    return runtime().num_launches;
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

cudaError_t cudaDeviceSynchronize() {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    run_streams();
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return copy_async({to, num_bytes, from, num_bytes, num_bytes, 1}, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* to,
                              std::size_t to_pitch,
                              const void* from,
                              std::size_t from_pitch,
                              std::size_t width,
                              std::size_t height,
                              cudaMemcpyKind kind,
                              cudaStream_t stream) {
    return copy_async({to, to_pitch, from, from_pitch, width, height}, kind, stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind kind) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    return cudaMemcpyAsync(to, from, num_bytes, kind, nullptr);
}

cudaError_t cudaMemcpy2D(void* to,
                         std::size_t to_pitch,
                         const void* from,
                         std::size_t from_pitch,
                         std::size_t width,
                         std::size_t height,
                         cudaMemcpyKind kind) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t num_bytes, cudaStream_t stream) {
    require_device_memory(memory, num_bytes, "what is set");
    return submit(stream, [=] {
        if (num_bytes > 0)
            std::memset(memory, value, num_bytes);
    });
}

cudaError_t cudaMemset(void* memory, int value, std::size_t num_bytes) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    return cudaMemsetAsync(memory, value, num_bytes, nullptr);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    *stream = new CUstream_st;
    (*stream)->blocking = flags != cudaStreamNonBlocking;
    (*stream)->device = current_device();
    const std::lock_guard lock(runtime().mutex);
    runtime().streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int /*priority*/) {
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    CUstream_st& known = stream_of(stream);
    if (stream == nullptr || known.capture != nullptr)
        return failed(cudaErrorInvalidResourceHandle);
    run_all(known);
    const std::lock_guard lock(runtime().mutex);
    runtime().streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    CUstream_st& known = stream_of(stream);
    if (const cudaError_t error = check_stream_not_capturing(known); error != cudaSuccess)
        return error;
    if (stream == nullptr)
        return cudaDeviceSynchronize();
    run_all(known);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    CUstream_st& known = stream_of(stream);
    if (const cudaError_t error = check_stream_not_capturing(known); error != cudaSuccess)
        return error;
    return run_one(known) ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
    CUstream_st& waiting = stream_of(stream);
    const std::shared_ptr<Capture> capture = event->capture.lock();
    if (capture == nullptr && event->num_records == 0)
        return cudaSuccess;  // nothing to wait for
    if (capture != nullptr) {
        // the order in which a capture's work was recorded serves for all its streams
        if (waiting.capture != nullptr && waiting.capture != capture)
            return failed(cudaErrorStreamCaptureUnsupported);
        if (waiting.capture == nullptr) {
            waiting.capture = capture;
            capture->unjoined.insert(stream);
        } else if (stream == capture->origin) {
            capture->unjoined.erase(event->stream);
        }
        return cudaSuccess;
    }
    if (waiting.capture != nullptr) {
        waiting.capture->invalidated = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    return submit_until_done(
        stream, [event, record = event->num_records] { return approach(event, record); });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
    return submit(stream, [=] { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
    *event = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event == nullptr)
        return failed(cudaErrorInvalidResourceHandle);
    // whoever waits for it still may
    if (event->capture.expired())
        reach(event, event->num_records);
    run_streams();
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const std::lock_guard lock(runtime().mutex);
    CUstream_st& known = stream_of(stream);
    event->stream = stream;
    event->capture = known.capture;
    if (known.capture != nullptr)
        return known.capture->invalidated ? failed(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
    const std::int64_t record = ++event->num_records;
    return submit(stream, [event, record] {
        event->num_reached = record;
        event->time = std::chrono::steady_clock::now();
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    reach(event, event->num_records);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
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
    *milliseconds = static_cast<float>(seconds_between(*begin, *end) * 1e3);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    CUstream_st& known = stream_of(stream);
    if (stream == nullptr)
        return failed(cudaErrorStreamCaptureUnsupported);
    if (known.capture != nullptr)
        return failed(cudaErrorInvalidValue);
    known.capture = std::make_shared<Capture>();
    known.capture->origin = stream;
    known.capture->mode = mode;
    known.capture->thread = std::this_thread::get_id();
    const std::lock_guard lock(runtime().mutex);
    runtime().captures.insert(known.capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    CUstream_st& known = stream_of(stream);
    if (known.capture == nullptr)
        return failed(cudaErrorInvalidValue);
    const std::shared_ptr<Capture> capture = known.capture;
    if (capture->origin != stream)
        return failed(cudaErrorStreamCaptureUnmatched);
    if (capture->mode != cudaStreamCaptureModeRelaxed &&
        capture->thread != std::this_thread::get_id())
        return failed(cudaErrorStreamCaptureWrongThread);
    {
        const std::lock_guard lock(runtime().mutex);
        runtime().captures.erase(capture);
        for (const cudaStream_t each : runtime().streams)
            if (each->capture == capture)
                each->capture = nullptr;
    }
    if (capture->invalidated)
        return failed(cudaErrorStreamCaptureInvalidated);
    if (!capture->unjoined.empty())
        return failed(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(capture->work)};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    const CUstream_st& known = stream_of(stream);
    *status = known.capture == nullptr     ? cudaStreamCaptureStatusNone
              : known.capture->invalidated ? cudaStreamCaptureStatusInvalidated
                                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec,
                                 cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
    if (const cudaError_t error = check_not_capturing(); error != cudaSuccess)
        return error;
    *exec = new CUgraphExec_st{graph->work};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    return submit_until_done(stream, [work = exec->work, next = std::make_shared<std::size_t>(0)] {
        while (*next < work.size() && work[*next]())
            ++*next;
        return *next == work.size();
    });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}
