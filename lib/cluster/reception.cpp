#include "lib/cluster/reception.h"

#include <poll.h>

#include <vector>

namespace eplb {
namespace {

// Who has not said who it is in this time, or is too many, is dropped.
constexpr auto kPatience = std::chrono::seconds(30);
constexpr std::size_t kMaxStrangers = 4096;

}  // namespace

std::optional<Frame> receive_frame(Connection& connection,
                                   Clock::time_point deadline,
                                   bool& is_closed) {
    is_closed = false;
    while (true) {
        if (auto frame = connection.frames.next())
            return frame;
        if (!wait_to_receive(connection.socket, deadline))
            return std::nullopt;
        char bytes[1 << 14];
        const Moved moved = receive_some(connection.socket, bytes, sizeof bytes);
        if (moved.is_closed) {
            is_closed = true;
            return std::nullopt;
        }
        connection.frames.append({bytes, moved.num_bytes});
    }
}

Reception::Reception(int port, const std::string& address, std::uint64_t nonce)
    : listener_(listen_at(port, address)) {
    const std::string host = own_host_name();
    greeting_ = encode({.kind = FrameKind::greeting,
                        .bytes = pack_number(nonce) + pack_number(host.size()) + host});
}

void Reception::accept_all() {
    while (auto socket = accept_from(listener_)) {
        // a new connection has room for so few bytes
        if (send_some(*socket, greeting_).num_bytes != greeting_.size())
            continue;
        if (strangers_.size() == kMaxStrangers)
            strangers_.pop_front();
        strangers_.push_back(
            {.connection = {.socket = std::move(*socket), .frames = {}}, .since = Clock::now()});
    }
}

std::optional<Frame> Reception::listen_to(Stranger& stranger) {
    try {
        bool is_closed = false;
        auto frame = receive_frame(stranger.connection, Clock::now(), is_closed);
        if (is_closed || (!frame && Clock::now() > stranger.since + kPatience))
            stranger.connection.socket.close();
        return frame;
    } catch (const Error&) {
        stranger.connection.socket.close();
        return std::nullopt;
    }
}

std::optional<Reception::Visitor> Reception::next(Clock::time_point deadline) {
    while (true) {
        accept_all();
        for (auto stranger = strangers_.begin(); stranger != strangers_.end();) {
            auto frame = listen_to(*stranger);
            if (frame) {
                Visitor visitor{.connection = std::move(stranger->connection),
                                .frame = std::move(*frame)};
                strangers_.erase(stranger);
                return visitor;
            }
            stranger = stranger->connection.socket.is_open() ? std::next(stranger)
                                                             : strangers_.erase(stranger);
        }
        if (Clock::now() >= deadline)
            return std::nullopt;
        std::vector<pollfd> entries = {{.fd = listener_.fd(), .events = POLLIN, .revents = 0}};
        for (const Stranger& stranger : strangers_)
            entries.push_back(
                {.fd = stranger.connection.socket.fd(), .events = POLLIN, .revents = 0});
        ::poll(entries.data(), entries.size(), milliseconds_until(deadline));
    }
}

}  // namespace eplb
