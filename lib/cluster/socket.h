#ifndef EPLB_CLUSTER_SOCKET_H
#define EPLB_CLUSTER_SOCKET_H

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// TCP connections. None of them blocks, raises SIGPIPE or is inherited by a program that is run.
namespace eplb {

using Clock = std::chrono::steady_clock;

// Owns a socket. Movable, not copyable.
class Socket {
  public:
    Socket() = default;
    explicit Socket(int fd) : fd_(fd) {}
    ~Socket() { close(); }
    Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Socket& operator=(Socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }

    int fd() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    void close();
    void end_sending() const;  // the other end reads to the end, then sees it

  private:
    int fd_ = -1;
};

// Listens at a port, 0: any free one; at one numeric address of this host, or at all if it is
// empty.
Socket listen_at(int port, const std::string& address);
int port_of(const Socket& listener);

// A connection that waits to be accepted, if there is one.
std::optional<Socket> accept_from(const Socket& listener);

// Tries every address of the host once, until the deadline. Where none answers, the result is not
// open and `why` says what the system says of the last one.
Socket try_connect(const std::string& host, int port, Clock::time_point deadline, std::string& why);

// What one call could move. Whoever is told that the connection is closed need not ask again.
struct Moved {
    std::size_t num_bytes = 0;
    bool is_closed = false;
};
Moved send_some(const Socket& socket, std::string_view bytes);
Moved receive_some(const Socket& socket, char* into, std::size_t size);

// Sends all; false if the connection is closed, or at the deadline.
bool send_all(const Socket& socket, std::string_view bytes, Clock::time_point deadline);
// Waits until something can be received, or the connection is closed; false at the deadline.
bool wait_to_receive(const Socket& socket, Clock::time_point deadline);
// Milliseconds to give to poll(2); 0 when it is over.
int milliseconds_until(Clock::time_point deadline);

// Numeric address of this end of a connection.
std::string local_address(const Socket& socket);
// The numeric address, if `host` is one, or localhost, by which nobody but this host itself can be
// meant; else empty. No name is looked up.
std::string loopback_address(const std::string& host);

// Of this host: addresses by which other hosts may reach it; its name; and what two processes have
// in common if they reach each other by 127.0.0.1 (empty where the system does not tell).
std::vector<std::string> own_addresses();
std::string own_host_name();
std::string own_network();

}  // namespace eplb

#endif
