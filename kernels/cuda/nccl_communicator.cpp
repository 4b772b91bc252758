#include "kernels/cuda/nccl_communicator.h"

#include <cstring>
#include <exception>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/base/error.h"

namespace eplb {

NcclCommunicator::NcclCommunicator(CudaBackend& backend,
                                   ProcessGroup& group,
                                   std::chrono::seconds deadline,
                                   std::chrono::milliseconds verdict_limit)
    : device_(backend.device()),
      group_(group),
      deadline_(deadline),
      verdict_limit_(verdict_limit),
      num_exceptions_(std::uncaught_exceptions()) {
    ncclUniqueId id = {};
    if (rank() == 0)
        require(ncclGetUniqueId(&id), "ncclGetUniqueId");
    const std::vector<std::string> ids =
        group_.all_gather(rank() == 0 ? std::string_view(id.internal, sizeof(id.internal)) : "");
    if (ids.front().size() != sizeof(id.internal))
        throw Error("NCCL: rank 0 sent no id; run the same program on all ranks");
    std::memcpy(id.internal, ids.front().data(), sizeof(id.internal));

    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    device_.make_current();
    try {
        finish(ncclCommInitRankConfig(&comm_, size(), id, rank(), &config),
               "ncclCommInitRankConfig");
        connect();
    } catch (...) {
        abort();
        throw;
    }
    device_.set_wait_check([this] { check_others(); });
}

// NCCL connects two devices when they first exchange something: here, while all are in step, and
// not where one waits for another that still computes.
void NcclCommunicator::connect() {
    group_.barrier();
    const int bytes = size();  // one for each member
    auto* const memory = static_cast<std::byte*>(device_.allocate(2 * bytes + 1));
    const struct Release {
        CudaDevice& device;
        void* memory;
        ~Release() { device.release(memory); }
    } release = {device_, memory};
    std::vector<std::int64_t> begin(bytes + 1);
    std::iota(begin.begin(), begin.end(), 0);
    all_gather(memory + 2 * bytes, 1, memory);
    exchange(memory, begin, memory + bytes, begin);
}

NcclCommunicator::~NcclCommunicator() {
    device_.set_wait_check({});
    if (comm_ == nullptr)
        return;
    // others may never come where this one ends early
    if (std::uncaught_exceptions() > num_exceptions_) {
        abort();
        return;
    }
    try {
        finish(ncclCommFinalize(comm_), "ncclCommFinalize");
        static_cast<void>(ncclCommDestroy(comm_));
    } catch (const std::exception&) {  // all results are there already
        abort();
    }
}

void NcclCommunicator::all_gather(const void* send, std::size_t num_bytes, void* receive) {
    check_alive();
    if (num_bytes == 0)
        return;
    finish(ncclAllGather(send, receive, num_bytes, ncclUint8, comm_, device_.stream()),
           "ncclAllGather");
}

void NcclCommunicator::exchange(const void* send,
                                std::span<const std::int64_t> send_begin,
                                void* receive,
                                std::span<const std::int64_t> receive_begin) {
    check_alive();
    const cudaStream_t stream = device_.stream();
    const auto* const from = static_cast<const std::byte*>(send);
    auto* const to = static_cast<std::byte*>(receive);
    const auto message_size = [](std::span<const std::int64_t> begin, int peer) {
        return begin[peer + 1] - begin[peer];
    };
    require(ncclGroupStart(), "ncclGroupStart");
    try {
        // empty messages too: all members must agree on what is sent
        for (int peer = 0; peer < size(); ++peer) {
            require(ncclSend(from + send_begin[peer], message_size(send_begin, peer), ncclUint8,
                             peer, comm_, stream),
                    "ncclSend");
            require(ncclRecv(to + receive_begin[peer], message_size(receive_begin, peer), ncclUint8,
                             peer, comm_, stream),
                    "ncclRecv");
        }
    } catch (...) {
        static_cast<void>(ncclGroupEnd());
        abort();
        throw;
    }
    finish(ncclGroupEnd(), "ncclGroupEnd");
}

// While something waits for the GPU.
void NcclCommunicator::check_others() {
    check_alive();
    try {
        group_.check();
        ncclResult_t state = ncclSuccess;
        require(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError");
        require(state, "a transfer");
    } catch (...) {
        abort_and_ask_group();
        throw;
    }
}

// NCCL often sees first that a connection broke; the group knows a moment later which member
// failed.
void NcclCommunicator::abort_and_ask_group() {
    constexpr auto kPause = std::chrono::milliseconds(10);
    abort();
    for (auto waited = std::chrono::milliseconds(0); waited < verdict_limit_; waited += kPause) {
        group_.check();
        std::this_thread::sleep_for(kPause);
    }
}

void NcclCommunicator::check_alive() const {
    if (comm_ == nullptr) {
        group_.check();
        throw Error("NCCL: used after it failed; see the messages before");
    }
}

// Until a call that goes on in the background is through.
void NcclCommunicator::finish(ncclResult_t result, const char* call) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point end = Clock::now() + deadline_;
    try {
        require(result, call);
        while (result == ncclInProgress) {
            group_.check();
            if (Clock::now() > end)
                throw Error("NCCL: rank " + std::to_string(rank()) + " of " +
                            std::to_string(size()) + ": " + call + " took more than " +
                            std::to_string(deadline_.count()) +
                            " s; set NCCL_DEBUG=INFO to see what it waits for");
            std::this_thread::yield();
            require(ncclCommGetAsyncError(comm_, &result), "ncclCommGetAsyncError");
            require(result, call);
        }
    } catch (...) {
        abort_and_ask_group();
        throw;
    }
}

void NcclCommunicator::require(ncclResult_t result, const char* call) {
    if (result == ncclSuccess || result == ncclInProgress)
        return;
    const char* const details = ncclGetLastError(comm_);
    throw Error("NCCL: rank " + std::to_string(rank()) + " of " + std::to_string(size()) + ": " +
                call + ": " + ncclGetErrorString(result) +
                (details == nullptr || *details == '\0' ? "" : std::string(" (") + details + ")") +
                "; set NCCL_DEBUG=INFO to see more");
}

// Ends NCCL's kernels on this GPU.
void NcclCommunicator::abort() noexcept {
    if (comm_ != nullptr)
        static_cast<void>(ncclCommAbort(comm_));
    comm_ = nullptr;
}

}  // namespace eplb
