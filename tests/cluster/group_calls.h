#ifndef EPLB_TESTS_CLUSTER_GROUP_CALLS_H
#define EPLB_TESTS_CLUSTER_GROUP_CALLS_H

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/communicator.h"
#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/cluster/process_group.h"

// What every member of a group runs, in threads and in processes alike; an Error where something
// is not as it must be. What a member sends is a function of who sends, of the call and of the
// position, so each knows what is to come from others.
namespace eplb::test {

inline std::string text_of(int rank, int call) {
    const std::uint64_t key = combine_keys(7, rank, call);
    // none, few and many bytes
    const std::size_t sizes[] = {0, 1, 100, 70'000};
    std::string text(sizes[key % 4], '\0');
    for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = static_cast<char>(mix_bits(key + i));
    return text;
}

inline void check_calls(ProcessGroup& group, int rank, int size, int num_rounds = 10) {
    if (group.rank() != rank || group.size() != size)
        throw Error("wrong rank or size");
    for (int call = 0; call < num_rounds; ++call) {
        std::vector<std::string> expected;
        for (int r = 0; r < size; ++r)
            expected.push_back(text_of(r, call));
        if (group.all_gather(text_of(rank, call)) != expected)
            throw Error("all_gather: wrong");
        group.barrier();
        if (group.gather(text_of(rank, call)) !=
            (rank == 0 ? expected : std::vector<std::string>()))
            throw Error("gather: wrong");
        group.check();
    }
}

inline std::byte data_byte(std::uint64_t key, std::int64_t position) {
    return static_cast<std::byte>(mix_bits(key + static_cast<std::uint64_t>(position)) >> 56);
}

// how much `from` sends to `to` in an exchange: often nothing, at times `max_bytes`
inline std::int64_t exchanged_bytes(std::uint64_t seed, int from, int to, std::int64_t max_bytes) {
    const std::uint64_t key = combine_keys(seed, from, to);
    switch (key % 4) {
        case 0:
            return 0;
        case 1:
            return static_cast<std::int64_t>(key >> 8) & 0xff;
        case 2:
            return max_bytes;
        default:
            return static_cast<std::int64_t>((key >> 8) %
                                             (static_cast<std::uint64_t>(max_bytes) + 1));
    }
}

inline void check_exchange(Communicator& communicator, std::uint64_t seed, std::int64_t max_bytes) {
    const int size = communicator.size();
    const int rank = communicator.rank();
    std::vector<std::int64_t> send_begin{0};
    std::vector<std::int64_t> receive_begin{0};
    for (int peer = 0; peer < size; ++peer) {
        send_begin.push_back(send_begin.back() + exchanged_bytes(seed, rank, peer, max_bytes));
        receive_begin.push_back(receive_begin.back() +
                                exchanged_bytes(seed, peer, rank, max_bytes));
    }
    std::vector<std::byte> send(send_begin.back());
    for (int peer = 0; peer < size; ++peer)
        for (std::int64_t i = send_begin[peer]; i < send_begin[static_cast<std::size_t>(peer) + 1];
             ++i)
            send[i] = data_byte(combine_keys(seed, rank, peer, 1), i - send_begin[peer]);
    // a margin that nobody may write to
    constexpr std::size_t kMargin = 64;
    constexpr std::byte kUntouched{0xa5};
    std::vector<std::byte> receive(static_cast<std::size_t>(receive_begin.back()) + 2 * kMargin,
                                   kUntouched);
    communicator.exchange(send.data(), send_begin, receive.data() + kMargin, receive_begin);
    // the sender's memory is its own again
    std::fill(send.begin(), send.end(), std::byte{0});
    for (int peer = 0; peer < size; ++peer)
        for (std::int64_t i = receive_begin[peer];
             i < receive_begin[static_cast<std::size_t>(peer) + 1]; ++i)
            if (receive[static_cast<std::size_t>(i) + kMargin] !=
                data_byte(combine_keys(seed, peer, rank, 1), i - receive_begin[peer]))
                throw Error("exchange: a wrong byte from rank " + std::to_string(peer));
    for (std::size_t i = 0; i < kMargin; ++i)
        if (receive[i] != kUntouched || receive[receive.size() - 1 - i] != kUntouched)
            throw Error("exchange: wrote outside");
}

inline void check_all_gather(Communicator& communicator,
                             std::uint64_t seed,
                             std::int64_t num_bytes) {
    const int size = communicator.size();
    std::vector<std::byte> send(num_bytes);
    for (std::int64_t i = 0; i < num_bytes; ++i)
        send[i] = data_byte(combine_keys(seed, communicator.rank()), i);
    std::vector<std::byte> receive(send.size() * static_cast<std::size_t>(size));
    communicator.all_gather(send.data(), send.size(), receive.data());
    for (int peer = 0; peer < size; ++peer)
        for (std::int64_t i = 0; i < num_bytes; ++i)
            if (receive[peer * num_bytes + i] != data_byte(combine_keys(seed, peer), i))
                throw Error("all_gather: a wrong byte from rank " + std::to_string(peer));
    // in place
    std::vector<std::byte> whole(receive.size());
    const std::size_t own = static_cast<std::size_t>(communicator.rank()) * send.size();
    std::copy(send.begin(), send.end(), whole.begin() + own);
    communicator.all_gather(whole.data() + own, send.size(), whole.data());
    if (whole != receive)
        throw Error("all_gather: wrong in place");
}

inline void check_communicator(Communicator& communicator, int rank, int size) {
    if (communicator.rank() != rank || communicator.size() != size)
        throw Error("wrong rank or size");
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        check_exchange(communicator, seed, static_cast<std::int64_t>(seed % 5) * 1000);
        check_all_gather(communicator, seed, static_cast<std::int64_t>(seed % 3) * 500);
    }
    // more than the buffers of a connection hold, both ways at once
    check_exchange(communicator, 100, 5'000'000);
    check_all_gather(communicator, 100, 2'000'000);
}

}  // namespace eplb::test

#endif
