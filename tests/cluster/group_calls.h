#ifndef EPLB_TESTS_CLUSTER_GROUP_CALLS_H
#define EPLB_TESTS_CLUSTER_GROUP_CALLS_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
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

// Every 8 bytes a function of the key and their position.
inline void fill_with_noise(std::uint64_t key, std::span<std::byte> bytes) {
    for (std::size_t begin = 0; begin < bytes.size(); begin += sizeof key) {
        const std::uint64_t noise = mix_bits(key + begin);
        std::memcpy(&bytes[begin], &noise, std::min(sizeof noise, bytes.size() - begin));
    }
}

inline std::string text_of(int rank, int call) {
    const std::uint64_t key = combine_keys(7, rank, call);
    // none, few and many bytes
    const std::size_t sizes[] = {0, 1, 100, 70'000};
    std::string text(sizes[key % 4], '\0');
    fill_with_noise(key, std::as_writable_bytes(std::span(text)));
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

inline std::vector<std::byte> noise_of(std::uint64_t key, std::int64_t num_bytes) {
    std::vector<std::byte> bytes(num_bytes);
    fill_with_noise(key, bytes);
    return bytes;
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
        fill_with_noise(
            combine_keys(seed, rank, peer, 1),
            std::span(send).subspan(send_begin[peer], send_begin[peer + 1] - send_begin[peer]));
    // a margin that nobody may write to
    constexpr std::int64_t kMargin = 64;
    constexpr std::byte kUntouched{0xa5};
    std::vector<std::byte> receive(receive_begin.back() + 2 * kMargin, kUntouched);
    communicator.exchange(send.data(), send_begin, receive.data() + kMargin, receive_begin);
    // the sender's memory is its own again
    std::fill(send.begin(), send.end(), std::byte{0});
    for (int peer = 0; peer < size; ++peer) {
        const auto expected = noise_of(combine_keys(seed, peer, rank, 1),
                                       receive_begin[peer + 1] - receive_begin[peer]);
        if (!std::equal(expected.begin(), expected.end(),
                        receive.begin() + kMargin + receive_begin[peer]))
            throw Error("exchange: a wrong byte from rank " + std::to_string(peer));
    }
    const auto is_untouched = [&](std::byte byte) { return byte == kUntouched; };
    if (!std::all_of(receive.begin(), receive.begin() + kMargin, is_untouched) ||
        !std::all_of(receive.end() - kMargin, receive.end(), is_untouched))
        throw Error("exchange: wrote outside");
}

inline void check_all_gather(Communicator& communicator,
                             std::uint64_t seed,
                             std::int64_t num_bytes) {
    const int size = communicator.size();
    const auto send = noise_of(combine_keys(seed, communicator.rank()), num_bytes);
    std::vector<std::byte> receive(send.size() * static_cast<std::size_t>(size));
    communicator.all_gather(send.data(), send.size(), receive.data());
    for (int peer = 0; peer < size; ++peer) {
        const auto expected = noise_of(combine_keys(seed, peer), num_bytes);
        if (!std::equal(expected.begin(), expected.end(), receive.begin() + peer * num_bytes))
            throw Error("all_gather: a wrong byte from rank " + std::to_string(peer));
    }
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
