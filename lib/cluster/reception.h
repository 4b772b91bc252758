#ifndef EPLB_CLUSTER_RECEPTION_H
#define EPLB_CLUSTER_RECEPTION_H

#include <list>
#include <optional>
#include <string>

#include "lib/cluster/socket.h"
#include "lib/cluster/wire.h"

namespace eplb {

// A socket, and what was received on it but not read yet.
struct Connection {
    Socket socket;
    FrameReader frames;
};

// The next frame; nothing at the deadline, or where the connection closes before: is_closed tells.
// Throws as FrameReader::next().
std::optional<Frame> receive_frame(Connection& connection,
                                   Clock::time_point deadline,
                                   bool& is_closed);

// Listens, greets whoever connects, and hands on those that answer with a frame. Others (port
// scanners, browsers, health checks) are dropped.
class Reception {
  public:
    // As listen_at().
    Reception(int port, const std::string& address, std::uint64_t nonce);

    int port() const { return port_of(listener_); }

    struct Visitor {
        Connection connection;
        Frame frame;  // its first
    };
    // Waits until the deadline for the next visitor.
    std::optional<Visitor> next(Clock::time_point deadline);

  private:
    struct Stranger {
        Connection connection;
        Clock::time_point since;
    };
    void accept_all();
    // Reads what a stranger says; not open any more if it is to be dropped.
    std::optional<Frame> listen_to(Stranger& stranger);

    Socket listener_;
    std::string greeting_;
    std::list<Stranger> strangers_;
};

}  // namespace eplb

#endif
