#include "kernels/cpu/socket_communicator.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "lib/base/error.h"
#include "lib/cluster/endpoint.h"

namespace eplb {
namespace {

using std::chrono::milliseconds;

// how often whoever waits looks whether all others live
constexpr auto kBetweenChecks = milliseconds(100);
// The group's word on why a connection closed, if a failure was the reason, comes in this time.
constexpr auto kVerdict = milliseconds(5000);

// number of the call and of the bytes that follow: both ends must agree
constexpr std::size_t kPartHeaderSize = 16;

// this process's part of making the connections
class Mesh {
  public:
    Mesh(ProcessGroup& group, const std::string& local_address, Clock::time_point deadline)
        : group_(group),
          deadline_(deadline),
          nonce_(random_nonce()),
          reception_(0, is_one_network(group) ? "127.0.0.1" : "", nonce_),
          sockets_(static_cast<std::size_t>(group.size())) {
        const auto all =
            group_.all_gather(pack(own_endpoint(reception_.port(), nonce_, local_address)));
        for (const std::string& bytes : all)
            endpoints_.push_back(unpack_endpoint(bytes));
    }

    // Connects to all lower ranks and waits for the higher ones.
    std::vector<Socket> connect() {
        for (int peer = 0; peer < group_.rank(); ++peer)
            call_peer(peer);
        for (int missing = group_.size() - 1 - group_.rank(); missing > 0;)
            if (welcome_peer())
                --missing;
        // nobody sends data before all have read the hellos
        group_.barrier();
        return std::move(sockets_);
    }

  private:
    static bool is_one_network(ProcessGroup& group) {
        const auto networks = group.all_gather(own_network());
        return !networks[0].empty() &&
               std::all_of(networks.begin(), networks.end(),
                           [&](const std::string& network) { return network == networks[0]; });
    }

    void call_peer(int peer) {
        const Endpoint& endpoint = endpoints_[peer];
        std::string why;
        while (true) {
            Connection connection = call(
                endpoint, deadline_, [&] { group_.check(); }, why);
            if (connection.socket.is_open() &&
                send_all(connection.socket,
                         encode({.kind = FrameKind::data_hello,
                                 .bytes = pack_number(endpoint.nonce) +
                                          pack_number(static_cast<std::uint64_t>(group_.rank()))}),
                         deadline_)) {
                sockets_[peer] = std::move(connection.socket);
                return;
            }
            if (Clock::now() >= deadline_)
                throw Error("rank " + std::to_string(peer) + " (host " + endpoint.host +
                            "): cannot connect to its port " + std::to_string(endpoint.port) +
                            ": " + why + "; see that no firewall is between the hosts");
            std::this_thread::sleep_for(kBetweenChecks);
        }
    }

    bool welcome_peer() {
        auto visitor = reception_.next(std::min(deadline_, Clock::now() + kBetweenChecks));
        group_.check();
        if (!visitor) {
            if (Clock::now() >= deadline_)
                throw Error("rank " + std::to_string(missing_peer()) + " (host " +
                            endpoints_[missing_peer()].host +
                            ") did not connect for data; see its own messages");
            return false;
        }
        try {
            Unpacker unpacker(visitor->frame.bytes);
            const bool is_ours =
                visitor->frame.kind == FrameKind::data_hello && unpacker.number() == nonce_;
            const std::uint64_t peer = is_ours ? unpacker.number() : 0;
            if (peer <= static_cast<std::uint64_t>(group_.rank()) || peer >= sockets_.size() ||
                sockets_[peer].is_open())
                return false;
            sockets_[peer] = std::move(visitor->connection.socket);
            return true;
        } catch (const Error&) {
            return false;  // a stranger
        }
    }

    int missing_peer() const {
        int peer = group_.rank() + 1;
        while (sockets_[peer].is_open())
            ++peer;
        return peer;
    }

    ProcessGroup& group_;
    Clock::time_point deadline_;
    std::uint64_t nonce_;
    Reception reception_;
    std::vector<Socket> sockets_;
    std::vector<Endpoint> endpoints_;
};

}  // namespace

struct SocketCommunicator::Part {
    std::byte* data = nullptr;  // what is sent is only read
    std::size_t num_bytes = 0;
    std::string header = {};   // sent, or to be expected
    std::string arrived = {};  // of the header
    std::size_t num_done = 0;

    bool is_done() const { return num_done == kPartHeaderSize + num_bytes; }
};

struct SocketCommunicator::Traffic {
    Part send;
    Part receive;
};

SocketCommunicator::SocketCommunicator(ProcessGroup& group,
                                       const std::string& local_address,
                                       milliseconds time_limit)
    : group_(group) {
    if (group.size() == 1)
        sockets_.resize(1);
    else
        sockets_ = Mesh(group, local_address, Clock::now() + time_limit).connect();
}

void SocketCommunicator::all_gather(const void* send, std::size_t num_bytes, void* receive) {
    std::vector<Traffic> peers(sockets_.size());
    auto* const to = static_cast<std::byte*>(receive);
    auto* const from = static_cast<std::byte*>(const_cast<void*>(send));
    for (std::size_t peer = 0; peer < peers.size(); ++peer) {
        peers[peer].send = {.data = from, .num_bytes = num_bytes};
        peers[peer].receive = {.data = to + peer * num_bytes, .num_bytes = num_bytes};
    }
    transfer(peers);
}

void SocketCommunicator::exchange(const void* send,
                                  std::span<const std::int64_t> send_begin,
                                  void* receive,
                                  std::span<const std::int64_t> receive_begin) {
    std::vector<Traffic> peers(sockets_.size());
    auto* const to = static_cast<std::byte*>(receive);
    auto* const from = static_cast<std::byte*>(const_cast<void*>(send));
    for (std::size_t peer = 0; peer < peers.size(); ++peer) {
        peers[peer].send = {
            .data = from + send_begin[peer],
            .num_bytes = static_cast<std::size_t>(send_begin[peer + 1] - send_begin[peer])};
        peers[peer].receive = {
            .data = to + receive_begin[peer],
            .num_bytes = static_cast<std::size_t>(receive_begin[peer + 1] - receive_begin[peer])};
    }
    transfer(peers);
}

void SocketCommunicator::transfer(std::vector<Traffic>& peers) {
    group_.check();
    ++num_calls_;
    const auto self = static_cast<std::size_t>(rank());
    const Part& own = peers[self].send;
    if (own.num_bytes > 0 && own.data != peers[self].receive.data)
        std::memcpy(peers[self].receive.data, own.data, own.num_bytes);
    for (Traffic& peer : peers) {
        peer.send.header = pack_number(num_calls_) + pack_number(peer.send.num_bytes);
        peer.receive.header = pack_number(num_calls_) + pack_number(peer.receive.num_bytes);
    }
    std::vector<pollfd> entries(peers.size());
    Clock::time_point next_check = Clock::now() + kBetweenChecks;
    while (true) {
        bool is_done = true;
        for (std::size_t peer = 0; peer < peers.size(); ++peer) {
            const Traffic& traffic = peers[peer];
            const bool is_peer_done =
                peer == self || (traffic.send.is_done() && traffic.receive.is_done());
            is_done = is_done && is_peer_done;
            entries[peer] = {.fd = is_peer_done ? -1 : sockets_[peer].fd(),
                             .events = static_cast<short>((traffic.send.is_done() ? 0 : POLLOUT) |
                                                          (traffic.receive.is_done() ? 0 : POLLIN)),
                             .revents = 0};
        }
        if (is_done)
            return;
        ::poll(entries.data(), entries.size(), milliseconds_until(next_check));
        if (Clock::now() >= next_check) {
            group_.check();
            next_check = Clock::now() + kBetweenChecks;
        }
        for (std::size_t peer = 0; peer < peers.size(); ++peer) {
            if ((entries[peer].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
                !peers[peer].receive.is_done())
                receive_part(static_cast<int>(peer), peers[peer].receive);
            if ((entries[peer].revents & (POLLOUT | POLLHUP | POLLERR)) != 0 &&
                !peers[peer].send.is_done())
                send_part(static_cast<int>(peer), peers[peer].send);
        }
    }
}

void SocketCommunicator::send_part(int peer, Part& part) {
    const std::string_view rest =
        part.num_done < kPartHeaderSize
            ? std::string_view(part.header).substr(part.num_done)
            : std::string_view(reinterpret_cast<const char*>(part.data), part.num_bytes)
                  .substr(part.num_done - kPartHeaderSize);
    const Moved moved = send_some(sockets_[peer], rest);
    if (moved.is_closed)
        throw_lost(peer);
    part.num_done += moved.num_bytes;
}

void SocketCommunicator::receive_part(int peer, Part& part) {
    const Socket& socket = sockets_[peer];
    if (part.num_done >= kPartHeaderSize) {
        const std::size_t num_done = part.num_done - kPartHeaderSize;
        const Moved moved = receive_some(socket, reinterpret_cast<char*>(part.data) + num_done,
                                         part.num_bytes - num_done);
        if (moved.is_closed)
            throw_lost(peer);
        part.num_done += moved.num_bytes;
        return;
    }
    char bytes[kPartHeaderSize];
    const Moved moved = receive_some(socket, bytes, kPartHeaderSize - part.num_done);
    if (moved.is_closed)
        throw_lost(peer);
    part.num_done += moved.num_bytes;
    part.arrived.append(bytes, moved.num_bytes);
    if (part.num_done == kPartHeaderSize && part.arrived != part.header) {
        Unpacker unpacker(part.arrived);
        const std::uint64_t call = unpacker.number();
        const std::string what =
            "rank " + std::to_string(peer) + " sends " + std::to_string(unpacker.number()) +
            " bytes in call " + std::to_string(call) + " to rank " + std::to_string(rank()) +
            ", which expects " + std::to_string(part.num_bytes) + " in call " +
            std::to_string(num_calls_) + "; this is an error of the program, please report it";
        group_.fail(what);
        throw Error(what);
    }
}

void SocketCommunicator::throw_lost(int peer) {
    const Clock::time_point end = Clock::now() + kVerdict;
    while (Clock::now() < end) {
        group_.check();
        std::this_thread::sleep_for(milliseconds(10));
    }
    throw Error("rank " + std::to_string(peer) +
                ": its connection for data closed; see its own messages");
}

}  // namespace eplb
