#ifndef EPLB_CLUSTER_ENDPOINT_H
#define EPLB_CLUSTER_ENDPOINT_H

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/cluster/reception.h"
#include "lib/cluster/socket.h"

namespace eplb {

// How another process reaches one that listens. A host may have many addresses, and not all of
// them lead to it from everywhere: they are tried one by one, and the nonce tells whether it is the
// right process that answers.
struct Endpoint {
    std::string host;     // its name, for people
    std::string network;  // own_network(): where it is the same, 127.0.0.1 reaches it
    int port = 0;
    std::uint64_t nonce = 0;
    std::vector<std::string> addresses;  // the best first
};

// That of this process. best_address, unless empty, is known to be reached from elsewhere.
Endpoint own_endpoint(int port, std::uint64_t nonce, const std::string& best_address);

std::uint64_t random_nonce();

// As bytes, and back; an Error where they are no endpoint.
std::string pack(const Endpoint& endpoint);
Endpoint unpack_endpoint(std::string_view bytes);

// Tries every address once, a few seconds each and not after the deadline, until one greets with
// the endpoint's nonce. Where none does, the result is not open and `why` says what became of the
// last attempt. `check` is called after each, and may throw.
Connection call(const Endpoint& endpoint,
                Clock::time_point deadline,
                const std::function<void()>& check,
                std::string& why);

// The same with an address alone, of which nothing is known. Throws the Error of a process that
// speaks another version. Sets `host` to the name with which it greets.
Connection call(const std::string& address,
                int port,
                Clock::time_point deadline,
                std::string& host,
                std::uint64_t& nonce,
                std::string& why);

}  // namespace eplb

#endif
