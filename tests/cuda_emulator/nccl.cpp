#include <nccl.h>

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_emulator/emulator.h"

namespace cuda_emulator {
namespace {

// What the ranks of one id share. Messages wait here between two ranks, in their order.
struct World {
    int num_ranks = 0;
    std::vector<ncclComm_t> members;
    int num_joined = 0;
    std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> messages;  // from, to
    std::map<int, cudaStream_t> streams;  // of each rank's last transfer
};

struct Message {
    bool is_send;
    void* memory;
    std::size_t num_bytes;
    int peer;
};

struct Communicators {
    std::recursive_mutex mutex;
    std::map<std::string, std::shared_ptr<World>> worlds;
    std::map<int, ncclResult_t> errors;  // by rank
    int num_ids = 0;
    int num_communicators = 0;
    int num_aborts = 0;
};

Communicators& communicators() {
    static Communicators all;
    return all;
}

}  // namespace
}  // namespace cuda_emulator

using namespace cuda_emulator;

struct ncclComm {
    std::shared_ptr<World> world;
    int rank;
    // shared with transfers that may outlive an abort
    struct Progress {
        int num_transfers = 0;
        bool is_aborted = false;
    };
    std::shared_ptr<Progress> progress = std::make_shared<Progress>();
    bool is_finalized = false;
    ncclResult_t last = ncclInProgress;
};

namespace {

// of the thread: what it has put into its group, by communicator and stream
thread_local int group_depth = 0;
thread_local std::map<std::pair<ncclComm_t, cudaStream_t>, std::vector<Message>> group;

ncclResult_t state_of(ncclComm_t comm) {
    if (const auto error = communicators().errors.find(comm->rank);
        error != communicators().errors.end())
        return error->second;
    if (comm->world->num_joined < comm->world->num_ranks)
        return ncclInProgress;
    if (comm->is_finalized && comm->progress->num_transfers > 0)
        return ncclInProgress;
    return ncclSuccess;
}

void require_idle(ncclComm_t comm) {
    if (comm->last == ncclInProgress)
        misuse("NCCL is called while a call before is in progress");
}

// What a device does of a group's messages: it sends all, then waits for what it receives.
class Transfer {
  public:
    Transfer(ncclComm_t comm, std::vector<Message> messages)
        : world_(comm->world),
          progress_(comm->progress),
          rank_(comm->rank),
          messages_(std::move(messages)) {}

    bool advance() {
        const std::lock_guard lock(communicators().mutex);
        if (progress_->is_aborted)
            return true;
        if (!std::exchange(has_sent_, true))
            for (const Message& message : messages_)
                if (message.is_send) {
                    const auto* const bytes = static_cast<const std::byte*>(message.memory);
                    world_->messages[{rank_, message.peer}].emplace_back(bytes,
                                                                         bytes + message.num_bytes);
                }
        while (num_received_ < messages_.size() && receive(messages_[num_received_]))
            ++num_received_;
        if (num_received_ < messages_.size())
            return false;
        --progress_->num_transfers;
        return true;
    }

  private:
    bool receive(const Message& message) {
        if (message.is_send)
            return true;
        auto& waiting = world_->messages[{message.peer, rank_}];
        if (waiting.empty()) {
            // a device goes on by itself, whether or not its thread waits for it
            const auto stream = world_->streams.find(message.peer);
            if (message.peer != rank_ && stream != world_->streams.end())
                cuda_emulator::advance(stream->second);
            if (waiting.empty())
                return false;
        }
        if (waiting.front().size() != message.num_bytes)
            misuse("a message of " + std::to_string(waiting.front().size()) +
                   " bytes is received as one of " + std::to_string(message.num_bytes));
        if (message.num_bytes > 0)
            std::memcpy(message.memory, waiting.front().data(), message.num_bytes);
        waiting.pop_front();
        return true;
    }

    std::shared_ptr<World> world_;
    std::shared_ptr<ncclComm::Progress> progress_;
    int rank_;
    std::vector<Message> messages_;
    bool has_sent_ = false;
    std::size_t num_received_ = 0;
};

ncclResult_t submit(ncclComm_t comm, cudaStream_t stream, std::vector<Message> messages) {
    int to_self = 0;
    for (const Message& message : messages)
        if (message.peer == comm->rank)
            to_self += message.is_send ? 1 : -1;
    if (to_self != 0)
        return ncclInvalidUsage;
    const auto transfer = std::make_shared<Transfer>(comm, std::move(messages));
    {
        const std::lock_guard lock(communicators().mutex);
        ++comm->progress->num_transfers;
        comm->world->streams[comm->rank] = stream;
    }
    enqueue_until_done(stream, [transfer] { return transfer->advance(); });
    return ncclSuccess;
}

ncclResult_t add_to_group(ncclComm_t comm, cudaStream_t stream, const Message& message) {
    if (group_depth == 0)
        misuse("a message is sent or received outside a group");
    if (message.peer < 0 || message.peer >= comm->world->num_ranks)
        return ncclInvalidArgument;
    require_device_memory(message.memory, message.num_bytes, "a message");
    const std::lock_guard lock(communicators().mutex);
    require_idle(comm);
    group[{comm, stream}].push_back(message);
    return ncclSuccess;
}

void remove(ncclComm_t comm) {
    --communicators().num_communicators;
    for (ncclComm_t& member : comm->world->members)
        if (member == comm)
            member = nullptr;
    comm->world->streams.erase(comm->rank);
    delete comm;
}

}  // namespace

namespace cuda_emulator {

void set_nccl_error(int rank, ncclResult_t error) {
    const std::lock_guard lock(communicators().mutex);
    if (error == ncclSuccess)
        communicators().errors.erase(rank);
    else
        communicators().errors[rank] = error;
}

int num_communicators() {
    const std::lock_guard lock(communicators().mutex);
    return communicators().num_communicators;
}

int num_aborts() {
    const std::lock_guard lock(communicators().mutex);
    return communicators().num_aborts;
}

}  // namespace cuda_emulator

const char* ncclGetErrorString(ncclResult_t result) {
    return result == ncclRemoteError    ? "remote process exited or there was a network error"
           : result == ncclInvalidUsage ? "invalid usage"
                                        : "error";
}

const char* ncclGetLastError(ncclComm_t /*comm*/) {
    return "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    const std::lock_guard lock(communicators().mutex);
    std::memset(id->internal, 0, sizeof(id->internal));
    std::strcpy(id->internal, ("world " + std::to_string(++communicators().num_ids)).c_str());
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(
    ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
    const std::lock_guard lock(communicators().mutex);
    *comm = nullptr;
    if (config->blocking != 0)
        misuse("a communicator is made that may block for ever");
    if (rank < 0 || rank >= num_ranks || std::strncmp(id.internal, "world ", 6) != 0)
        return ncclInvalidArgument;
    std::shared_ptr<World>& world = communicators().worlds[id.internal];
    if (world == nullptr) {
        world = std::make_shared<World>();
        world->num_ranks = num_ranks;
        world->members.resize(num_ranks);
    }
    ncclComm_t& member = world->members[rank];
    if (world->num_ranks != num_ranks || member != nullptr)
        return ncclInvalidUsage;
    member = *comm = new ncclComm{.world = world, .rank = rank};
    ++world->num_joined;
    ++communicators().num_communicators;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
    cudaStream_t stream = nullptr;
    {
        const std::lock_guard lock(communicators().mutex);
        *result = comm->last = state_of(comm);
        if (comm->is_finalized && *result == ncclInProgress)
            stream = comm->world->streams[comm->rank];
    }
    if (stream != nullptr)
        advance(stream);
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    const std::lock_guard lock(communicators().mutex);
    require_idle(comm);
    comm->is_finalized = true;
    return comm->last = state_of(comm);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    const std::lock_guard lock(communicators().mutex);
    require_idle(comm);
    if (!comm->is_finalized || comm->progress->num_transfers > 0)
        misuse("a communicator is destroyed before it is through");
    for (int peer = 0; peer < comm->world->num_ranks; ++peer)
        if (!comm->world->messages[{peer, comm->rank}].empty())
            misuse("a message was never received");
    remove(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    const std::lock_guard lock(communicators().mutex);
    comm->progress->is_aborted = true;
    ++communicators().num_aborts;
    remove(comm);
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    ++group_depth;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
    if (group_depth == 0)
        return ncclInvalidUsage;
    if (--group_depth > 0)
        return ncclSuccess;
    for (auto& [key, messages] : std::exchange(group, {}))
        if (const ncclResult_t result = submit(key.first, key.second, std::move(messages));
            result != ncclSuccess)
            return result;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void* memory,
                      std::size_t count,
                      ncclDataType_t /*type*/,
                      int peer,
                      ncclComm_t comm,
                      cudaStream_t stream) {
    return add_to_group(comm, stream, {true, const_cast<void*>(memory), count, peer});
}

ncclResult_t ncclRecv(void* memory,
                      std::size_t count,
                      ncclDataType_t /*type*/,
                      int peer,
                      ncclComm_t comm,
                      cudaStream_t stream) {
    return add_to_group(comm, stream, {false, memory, count, peer});
}

ncclResult_t ncclAllGather(const void* send,
                           void* receive,
                           std::size_t count,
                           ncclDataType_t /*type*/,
                           ncclComm_t comm,
                           cudaStream_t stream) {
    ncclGroupStart();
    for (int peer = 0; peer < comm->world->num_ranks; ++peer) {
        ncclSend(send, count, ncclUint8, peer, comm, stream);
        ncclRecv(static_cast<std::byte*>(receive) + static_cast<std::size_t>(peer) * count, count,
                 ncclUint8, peer, comm, stream);
    }
    return ncclGroupEnd();
}
