#include "kernels/cpu/thread_communicator.h"

#include <cstring>
#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

// What a member tells the others: where its data are, of which sizes.
struct Contribution {
    const std::byte* data;
    const std::int64_t* begin;  // [size + 1]; null: num_bytes for everyone
    std::size_t num_bytes;
};

std::string as_bytes(const Contribution& contribution) {
    return std::string(reinterpret_cast<const char*>(&contribution), sizeof contribution);
}

Contribution contribution_of(const std::string& bytes) {
    Contribution contribution;
    std::memcpy(&contribution, bytes.data(), sizeof contribution);
    return contribution;
}

// A receiver that expects another size would read or leave what is not its own.
void check_size(ProcessGroup& group,
                int from,
                std::int64_t num_offered,
                std::int64_t num_expected) {
    if (num_offered == num_expected)
        return;
    const std::string what =
        "rank " + std::to_string(from) + " sends " + std::to_string(num_offered) +
        " bytes to rank " + std::to_string(group.rank()) + ", which expects " +
        std::to_string(num_expected) + "; this is an error of the program, please report it";
    group.fail(what);
    throw Error(what);
}

// nothing may be copied from or to null
void copy(std::byte* to, const std::byte* from, std::int64_t num_bytes) {
    if (num_bytes > 0 && to != from)
        std::memcpy(to, from, static_cast<std::size_t>(num_bytes));
}

}  // namespace

void ThreadCommunicator::all_gather(const void* send, std::size_t num_bytes, void* receive) {
    const auto contributions = group_.all_gather(as_bytes(
        {.data = static_cast<const std::byte*>(send), .begin = nullptr, .num_bytes = num_bytes}));
    const auto size = static_cast<std::int64_t>(num_bytes);
    for (int from = 0; from < this->size(); ++from) {
        const Contribution contribution = contribution_of(contributions[from]);
        check_size(group_, from, static_cast<std::int64_t>(contribution.num_bytes), size);
        copy(static_cast<std::byte*>(receive) + from * size, contribution.data, size);
    }
    // the others' memory is theirs again
    group_.barrier();
}

void ThreadCommunicator::exchange(const void* send,
                                  std::span<const std::int64_t> send_begin,
                                  void* receive,
                                  std::span<const std::int64_t> receive_begin) {
    const auto contributions = group_.all_gather(as_bytes(
        {.data = static_cast<const std::byte*>(send), .begin = send_begin.data(), .num_bytes = 0}));
    for (int from = 0; from < size(); ++from) {
        const Contribution contribution = contribution_of(contributions[from]);
        const std::int64_t begin = receive_begin[from];
        const std::int64_t size = receive_begin[static_cast<std::size_t>(from) + 1] - begin;
        const std::int64_t offered = contribution.begin[rank()];
        check_size(group_, from, contribution.begin[rank() + 1] - offered, size);
        copy(static_cast<std::byte*>(receive) + begin, contribution.data + offered, size);
    }
    group_.barrier();
}

}  // namespace eplb
