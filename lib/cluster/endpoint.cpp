#include "lib/cluster/endpoint.h"

#include <algorithm>
#include <random>

namespace eplb {
namespace {

constexpr auto kTimePerAddress = std::chrono::seconds(2);

}  // namespace

Endpoint own_endpoint(int port, std::uint64_t nonce, const std::string& best_address) {
    Endpoint endpoint{.host = own_host_name(),
                      .network = own_network(),
                      .port = port,
                      .nonce = nonce,
                      .addresses = own_addresses()};
    if (!best_address.empty()) {
        std::erase(endpoint.addresses, best_address);
        endpoint.addresses.insert(endpoint.addresses.begin(), best_address);
    }
    endpoint.addresses.push_back(endpoint.host);
    return endpoint;
}

std::uint64_t random_nonce() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

std::string pack(const Endpoint& endpoint) {
    std::vector<std::string> texts = endpoint.addresses;
    texts.insert(texts.begin(), {endpoint.host, endpoint.network});
    return pack_number(endpoint.nonce) + pack_number(static_cast<std::uint64_t>(endpoint.port)) +
           pack_texts(texts);
}

Endpoint unpack_endpoint(std::string_view bytes) {
    Unpacker unpacker(bytes);
    Endpoint endpoint;
    endpoint.nonce = unpacker.number();
    endpoint.port = static_cast<int>(unpacker.number() & 0xffff);
    endpoint.addresses = unpacker.texts();
    if (endpoint.addresses.size() < 2)
        throw Error("sends an address that ends too early");
    endpoint.host = endpoint.addresses[0];
    endpoint.network = endpoint.addresses[1];
    endpoint.addresses.erase(endpoint.addresses.begin(), endpoint.addresses.begin() + 2);
    return endpoint;
}

Connection call(const std::string& address,
                int port,
                Clock::time_point deadline,
                std::string& host,
                std::uint64_t& nonce,
                std::string& why) {
    deadline = std::min(deadline, Clock::now() + kTimePerAddress);
    Connection connection;
    connection.socket = try_connect(address, port, deadline, why);
    if (!connection.socket.is_open())
        return connection;
    try {
        bool is_closed = false;
        const auto frame = receive_frame(connection, deadline, is_closed);
        if (frame && frame->kind == FrameKind::greeting) {
            Unpacker unpacker(frame->bytes);
            nonce = unpacker.number();
            host = unpacker.text();
            return connection;
        }
        why = is_closed ? "the connection was closed" : "what answers there does not greet";
    } catch (const ForeignError&) {
        why = "another program answers there";
    }
    connection.socket.close();
    return connection;
}

Connection call(const Endpoint& endpoint,
                Clock::time_point deadline,
                const std::function<void()>& check,
                std::string& why) {
    std::vector<std::string> addresses;
    if (!endpoint.network.empty() && endpoint.network == own_network())
        addresses.push_back("127.0.0.1");
    addresses.insert(addresses.end(), endpoint.addresses.begin(), endpoint.addresses.end());
    for (const std::string& address : addresses) {
        std::string host;
        std::uint64_t nonce = 0;
        Connection connection = call(address, endpoint.port, deadline, host, nonce, why);
        check();
        if (connection.socket.is_open()) {
            if (nonce == endpoint.nonce)
                return connection;
            why = "another run answers there";
        }
    }
    return {};
}

}  // namespace eplb
