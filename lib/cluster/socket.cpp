#include "lib/cluster/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <memory>

#include "lib/base/error.h"

namespace eplb {
namespace {

// for as many processes as may come at once
constexpr int kBacklog = 4096;

void set_option(const Socket& socket, int level, int option, int value) {
    ::setsockopt(socket.fd(), level, option, &value, sizeof value);
}

Socket make_socket(int family) {
    return Socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

// `flags` as for getaddrinfo()
Addresses look_up(const std::string& host, int port, int flags, std::string& why) {
    addrinfo hints = {};
    hints.ai_flags = flags;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0)
        why = ::gai_strerror(error);
    return Addresses(found, &::freeaddrinfo);
}

// binds to `address` and listens; not open, with errno, where that fails
Socket listen_at_address(const sockaddr* address, socklen_t size) {
    Socket socket = make_socket(address->sa_family);
    if (!socket.is_open())
        return socket;
    // a port of a run that has just ended may be used again
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->sa_family == AF_INET6)
        set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (::bind(socket.fd(), address, size) != 0 || ::listen(socket.fd(), kBacklog) != 0) {
        const int error = errno;
        socket.close();
        errno = error;
    }
    return socket;
}

std::string numeric(const sockaddr* address, socklen_t size) {
    char text[NI_MAXHOST] = "";
    ::getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    // an IPv4 connection to an IPv6 socket
    constexpr std::string_view kMapped = "::ffff:";
    const std::string_view name = text;
    return std::string(name.starts_with(kMapped) && name.find('.') != std::string_view::npos
                           ? name.substr(kMapped.size())
                           : name);
}

// A port of this host at which nobody listens may be given to the very connection that looks for
// it, which then reaches itself.
bool is_connected_to_itself(const Socket& socket) {
    sockaddr_storage here = {};
    sockaddr_storage there = {};
    socklen_t here_size = sizeof here;
    socklen_t there_size = sizeof there;
    return ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&here), &here_size) == 0 &&
           ::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&there), &there_size) == 0 &&
           here_size == there_size && std::memcmp(&here, &there, here_size) == 0;
}

// whether one of `events` came before the deadline
bool wait_for(const Socket& socket, short events, Clock::time_point deadline) {
    pollfd entry = {.fd = socket.fd(), .events = events, .revents = 0};
    while (true) {
        const int n = ::poll(&entry, 1, milliseconds_until(deadline));
        if (n > 0)
            return true;
        if (n == 0 ? Clock::now() >= deadline : errno != EINTR)
            return false;
    }
}

Socket connect_to(const addrinfo& address, Clock::time_point deadline, std::string& why) {
    Socket socket = make_socket(address.ai_family);
    int error = 0;
    if (!socket.is_open()) {
        error = errno;
    } else if (::connect(socket.fd(), address.ai_addr, address.ai_addrlen) != 0) {
        error = errno;
        // EINTR: the attempt goes on
        if (error == EINPROGRESS || error == EINTR) {
            socklen_t size = sizeof error;
            if (!wait_for(socket, POLLOUT, deadline))
                error = ETIMEDOUT;
            else
                ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
        }
    }
    if (error == 0 && is_connected_to_itself(socket))
        error = ECONNREFUSED;
    if (error != 0) {
        why = std::strerror(error);
        socket.close();
    } else {
        set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    return socket;
}

bool is_to_be_repeated(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

void Socket::close() {
    if (fd_ >= 0)
        ::close(fd_);
    fd_ = -1;
}

void Socket::end_sending() const {
    ::shutdown(fd_, SHUT_WR);
}

Socket listen_at(int port, const std::string& address) {
    std::string what = address.empty() ? "port " : address + " port ";
    what += std::to_string(port);
    Socket socket;
    int error = 0;
    // all addresses: those of IPv6 are those of IPv4 as well, where the host has IPv6
    for (const std::string& one : address.empty() ? std::vector<std::string>{"::", "0.0.0.0"}
                                                  : std::vector<std::string>{address}) {
        std::string why;
        const Addresses found = look_up(one, port, AI_NUMERICHOST | AI_PASSIVE, why);
        if (found == nullptr)
            throw Error(what + ": cannot listen: " + why);
        socket = listen_at_address(found->ai_addr, found->ai_addrlen);
        error = errno;
        if (socket.is_open() || error == EADDRINUSE)
            break;
    }
    if (!socket.is_open())
        throw Error(what + ": cannot listen: " + std::strerror(error) +
                    (error == EADDRINUSE ? "; another run may use it, give another port" : ""));
    return socket;
}

int port_of(const Socket& listener) {
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    ::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.ss_family == AF_INET6
                     ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                     : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::optional<Socket> accept_from(const Socket& listener) {
    Socket socket(::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.is_open()) {
        if (errno == EMFILE || errno == ENFILE)
            throw Error(std::string("connections of other processes: ") + std::strerror(errno) +
                        "; raise the limit (ulimit -n)");
        return std::nullopt;
    }
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    return socket;
}

Socket try_connect(const std::string& host,
                   int port,
                   Clock::time_point deadline,
                   std::string& why) {
    const Addresses addresses = look_up(host, port, 0, why);
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next)
        if (Socket socket = connect_to(*address, deadline, why); socket.is_open())
            return socket;
    return Socket();
}

Moved send_some(const Socket& socket, std::string_view bytes) {
    const ssize_t n = ::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0)
        return {.num_bytes = static_cast<std::size_t>(n)};
    return {.is_closed = !is_to_be_repeated(errno)};
}

Moved receive_some(const Socket& socket, char* into, std::size_t size) {
    const ssize_t n = ::recv(socket.fd(), into, size, 0);
    if (n > 0)
        return {.num_bytes = static_cast<std::size_t>(n)};
    return {.is_closed = n == 0 || !is_to_be_repeated(errno)};
}

bool send_all(const Socket& socket, std::string_view bytes, Clock::time_point deadline) {
    while (!bytes.empty()) {
        const Moved moved = send_some(socket, bytes);
        if (moved.is_closed)
            return false;
        bytes.remove_prefix(moved.num_bytes);
        if (!bytes.empty() && !wait_for(socket, POLLOUT, deadline))
            return false;
    }
    return true;
}

bool wait_to_receive(const Socket& socket, Clock::time_point deadline) {
    return wait_for(socket, POLLIN, deadline);
}

int milliseconds_until(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, INT_MAX));
}

std::string local_address(const Socket& socket) {
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    return numeric(reinterpret_cast<const sockaddr*>(&address), size);
}

std::string loopback_address(const std::string& host) {
    if (host == "localhost")
        return "127.0.0.1";
    in_addr v4 = {};
    in6_addr v6 = {};
    const bool is_v4 = ::inet_pton(AF_INET, host.c_str(), &v4) == 1;
    const bool is_v6 = ::inet_pton(AF_INET6, host.c_str(), &v6) == 1;
    return (is_v4 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET) ||
                   (is_v6 && IN6_IS_ADDR_LOOPBACK(&v6))
               ? host
               : "";
}

std::vector<std::string> own_addresses() {
    std::vector<std::string> addresses;
    ifaddrs* interfaces = nullptr;
    if (::getifaddrs(&interfaces) != 0)
        return addresses;
    for (const ifaddrs* i = interfaces; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0 ||
            (i->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        if (i->ifa_addr->sa_family == AF_INET) {
            addresses.push_back(numeric(i->ifa_addr, sizeof(sockaddr_in)));
        } else if (i->ifa_addr->sa_family == AF_INET6) {
            const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(i->ifa_addr);
            // link-local addresses mean nothing without the interface of whoever uses them
            if (!IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
                addresses.push_back(numeric(i->ifa_addr, sizeof(sockaddr_in6)));
        }
    }
    ::freeifaddrs(interfaces);
    return addresses;
}

std::string own_host_name() {
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    return name;
}

std::string own_network() {
    std::string boot;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
    struct stat status = {};
    if (boot.empty() || ::stat("/proc/self/ns/net", &status) != 0)
        return "";
    return boot + "/" + std::to_string(status.st_ino);
}

}  // namespace eplb
