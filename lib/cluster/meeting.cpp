#include "lib/cluster/meeting.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/cluster/endpoint.h"
#include "lib/cluster/process_group.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// how long a failed attempt waits before the next
constexpr auto kBetweenAttempts = milliseconds(50);
// how long rank 0 looks for newcomers before it looks whether those that have come still live
constexpr auto kBetweenLooks = milliseconds(50);
// what rank 0 may be late with its verdict
constexpr auto kMargin = std::chrono::seconds(2);

std::string shortened(const std::string& text) {
    constexpr std::size_t kMax = 2000;
    return text.size() <= kMax ? text : text.substr(0, kMax) + "…";
}

// Who says hello to rank 0.
struct Hello {
    int rank;
    int world_size;
    std::string host;
    std::string configuration;
};

std::string pack(const Hello& hello) {
    return pack_number(static_cast<std::uint64_t>(hello.rank)) +
           pack_number(static_cast<std::uint64_t>(hello.world_size)) +
           pack_texts(std::vector<std::string>{hello.host, hello.configuration});
}

Hello unpack_hello(const std::string& bytes) {
    Unpacker unpacker(bytes);
    Hello hello{.rank = static_cast<int>(unpacker.number()),
                .world_size = static_cast<int>(unpacker.number()),
                .host = {},
                .configuration = {}};
    const auto texts = unpacker.texts();
    if (texts.size() != 2)
        throw Error("says hello in a way that is not known");
    hello.host = texts[0];
    hello.configuration = texts[1];
    return hello;
}

// The file in which rank 0 says where it is, for as long as others may look for it.
class MeetingFile {
  public:
    MeetingFile(const std::string& path, const Endpoint& endpoint)
        : path_(path), content_(pack(endpoint)) {
        if (path_.empty())
            return;
        refuse_foreign();
        OutputFile output(path_);
        output.write(content_);
        output.commit();
    }
    ~MeetingFile() {
        // a later run may have put its own there
        std::error_code ignored;
        try {
            if (!path_.empty() && read_file(path_) == content_)
                fs::remove(path_, ignored);
        } catch (const Error&) {
            // it is gone
        }
    }
    MeetingFile(const MeetingFile&) = delete;
    MeetingFile& operator=(const MeetingFile&) = delete;

  private:
    // What an earlier run left is replaced; nothing else is.
    void refuse_foreign() const {
        std::error_code ignored;
        if (!fs::exists(path_, ignored))
            return;
        try {
            static_cast<void>(unpack_endpoint(read_file(path_)));
        } catch (const Error&) {
            throw Error(path_ +
                        ": is there, and was not written by an earlier run; name a file "
                        "that does not exist yet");
        }
    }

    std::string path_;
    std::string content_;
};

// The items "a, b, c" of two texts from the first one that differs to the last.
std::pair<std::string, std::string> differences(const std::string& one, const std::string& other) {
    const auto items_of = [](const std::string& text) {
        std::vector<std::string> items;
        for (std::size_t begin = 0; begin <= text.size();) {
            const std::size_t end = std::min(text.find(", ", begin), text.size());
            items.push_back(text.substr(begin, end - begin));
            begin = end + 2;
        }
        return items;
    };
    std::vector<std::string> a = items_of(one);
    std::vector<std::string> b = items_of(other);
    const auto first = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    a.erase(a.begin(), first.first);
    b.erase(b.begin(), first.second);
    const auto last = std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend());
    a.erase(last.first.base(), a.end());
    b.erase(last.second.base(), b.end());
    const auto joined = [](const std::vector<std::string>& items) {
        std::string text;
        for (const std::string& item : items)
            text += (text.empty() ? "" : ", ") + item;
        return text;
    };
    return {joined(a), joined(b)};
}

// Rank 0's part.
class Host {
  public:
    explicit Host(const MeetingRequest& request)
        : request_(request),
          deadline_(Clock::now() + request.time_limit),
          nonce_(random_nonce()),
          reception_(request.point.port, loopback_address(request.point.host), nonce_),
          file_(request.point.file, own_endpoint(reception_.port(), nonce_, {})) {
        met_.connections.resize(request.world_size);
        met_.hosts.resize(met_.connections.size());
        met_.hosts[0] = own_host_name();
    }

    Met meet() {
        for (int missing = request_.world_size - 1; missing > 0;) {
            auto visitor = reception_.next(std::min(deadline_, Clock::now() + kBetweenLooks));
            if (visitor && admit(std::move(*visitor)))
                --missing;
            check_alive();
            if (request_.is_interrupted && request_.is_interrupted())
                refuse({describe_rank(0, met_.hosts[0]) + ": " + kItWasInterrupted, true});
            if (missing > 0 && Clock::now() >= deadline_)
                throw_missing();
        }
        const std::string welcome =
            encode({.kind = FrameKind::welcome, .bytes = pack_texts(met_.hosts)});
        for (std::size_t rank = 1; rank < met_.connections.size(); ++rank)
            if (!send_all(met_.connections[rank].socket, welcome, Clock::now() + kMargin))
                throw_gone(rank);
        return std::move(met_);
    }

  private:
    // Whether it is a rank that was missing; nothing for others that know the protocol.
    bool admit(Reception::Visitor visitor) {
        if (visitor.frame.kind != FrameKind::hello)
            return false;
        Hello hello;
        try {
            hello = unpack_hello(visitor.frame.bytes);
        } catch (const Error&) {
            return false;
        }
        const std::string who = describe_rank(hello.rank, hello.host);
        const std::string rank_0 = describe_rank(0, met_.hosts[0]);
        std::string what;
        if (hello.world_size != request_.world_size) {
            what = who + ": world size " + std::to_string(hello.world_size) + ", but " + rank_0 +
                   " has " + std::to_string(request_.world_size) +
                   ": start all processes as parts of one run, or give each run a port of its own";
        } else if (hello.configuration != request_.configuration) {
            const auto [its, ours] = differences(hello.configuration, request_.configuration);
            const auto said = [](const std::string& items) {
                return items.empty() ? "does not have this" : "has '" + shortened(items) + "'";
            };
            what = who + ": its configuration " + said(its) + ", that of " + rank_0 + " " +
                   said(ours) + ": start all ranks with the same options and inputs";
        } else if (hello.rank < 1 || hello.rank >= request_.world_size ||
                   met_.connections[hello.rank].socket.is_open()) {
            const std::string first = hello.rank < 1 || hello.rank >= request_.world_size
                                          ? rank_0
                                          : describe_rank(hello.rank, met_.hosts[hello.rank]);
            what = who + ": came although " + first +
                   " is there: the same rank was started twice; give each process a rank of its "
                   "own, or each run a port of its own";
        }
        if (!what.empty()) {
            met_.connections.push_back(std::move(visitor.connection));
            refuse({what});
        }
        const auto rank = static_cast<std::size_t>(hello.rank);
        const std::string address = local_address(visitor.connection.socket);
        if (met_.local_address.empty() || !loopback_address(met_.local_address).empty())
            met_.local_address = address;
        met_.connections[rank] = std::move(visitor.connection);
        met_.hosts[rank] = hello.host;
        return true;
    }

    void check_alive() {
        for (std::size_t rank = 1; rank < met_.connections.size(); ++rank) {
            char byte = 0;
            const Socket& socket = met_.connections[rank].socket;
            if (socket.is_open() && receive_some(socket, &byte, 1).is_closed)
                throw_gone(rank);
        }
    }

    [[noreturn]] void throw_gone(std::size_t rank) {
        refuse({describe_rank(static_cast<int>(rank), met_.hosts[rank]) +
                " is gone: its connection closed before all ranks had come; see its own messages"});
    }

    [[noreturn]] void throw_missing() {
        std::string ranks;
        for (std::size_t rank = 1; rank < met_.connections.size(); ++rank)
            if (!met_.connections[rank].socket.is_open())
                ranks += (ranks.empty() ? "" : ", ") + std::to_string(rank);
        refuse({(ranks.find(',') == std::string::npos ? "rank " : "ranks ") + ranks + " of " +
                std::to_string(request_.world_size) + " did not come to " +
                describe_rank(0, met_.hosts[0]) + " within " + in_seconds(request_.time_limit) +
                ": see their own messages, or whether they were started and reach this host"});
    }

    // Tells all that are there, and those that come in a moment, so that they end with the same
    // words.
    [[noreturn]] void refuse(const Failure& failure) {
        const std::string last = failure.frame();
        const Clock::time_point end = Clock::now() + request_.last_message;
        const auto tell = [&](const Socket& socket) {
            if (socket.is_open() && send_all(socket, last, end))
                socket.end_sending();
        };
        std::vector<Connection> told = std::move(met_.connections);
        std::erase_if(told, [](const Connection& one) { return !one.socket.is_open(); });
        for (const Connection& connection : told)
            tell(connection.socket);
        while (told.size() + 1 < static_cast<std::size_t>(request_.world_size)) {
            auto visitor = reception_.next(end);
            if (!visitor)
                break;
            tell(visitor->connection.socket);
            told.push_back(std::move(visitor->connection));
        }
        // until they have read it: closing before may take it from them
        for (const Connection& connection : told) {
            char bytes[256];
            while (wait_to_receive(connection.socket, end) &&
                   !receive_some(connection.socket, bytes, sizeof bytes).is_closed) {
            }
        }
        failure.raise();
    }

    const MeetingRequest& request_;
    Clock::time_point deadline_;
    std::uint64_t nonce_;
    Reception reception_;
    MeetingFile file_;
    Met met_;
};

// Another rank's part.
class Guest {
  public:
    explicit Guest(const MeetingRequest& request)
        : request_(request), deadline_(Clock::now() + request.time_limit) {}

    Met meet() {
        while (true) {
            std::string host;
            Connection connection = look_for_host(host);
            if (connection.socket.is_open())
                return join(std::move(connection), host);
            check_interrupted();
            if (Clock::now() >= deadline_)
                throw Error(own_name() + ": could not reach rank 0 " + place() + " within " +
                            in_seconds(request_.time_limit) + " (" + why_ +
                            "): start rank 0, see its own messages, or correct the address");
            std::this_thread::sleep_for(kBetweenAttempts);
        }
    }

  private:
    std::string own_name() const { return describe_rank(request_.rank, own_host_name()); }

    void check_interrupted() const {
        if (request_.is_interrupted && request_.is_interrupted())
            throw InterruptedError(own_name() + ": " + kItWasInterrupted);
    }

    Connection look_for_host(std::string& host) {
        const MeetingPoint& point = request_.point;
        try {
            if (point.file.empty()) {
                std::uint64_t nonce = 0;
                return call(point.host, point.port, deadline_, host, nonce, why_);
            }
            std::error_code error;  // of a network's file system: it may be there the next time
            if (!fs::exists(point.file, error)) {
                why_ = "there is no such file";
                return {};
            }
            const Endpoint endpoint = unpack_endpoint(read_file(point.file));
            host = endpoint.host;
            return call(
                endpoint, deadline_, [] {}, why_);
        } catch (const ForeignError& error) {
            why_ = error.what();
        } catch (const Error& error) {
            // a file that is being replaced, or none of ours; or a rank 0 of another version
            if (point.file.empty())
                throw Error("rank 0 " + place() + ": " + error.what());
            why_ = error.what();
        }
        return {};
    }

    Met join(Connection connection, const std::string& host) {
        // rank 0 has been there longer, so its deadline is before this one
        const Clock::time_point deadline = Clock::now() + request_.time_limit + kMargin;
        const std::string hello =
            encode({.kind = FrameKind::hello,
                    .bytes = pack(Hello{.rank = request_.rank,
                                        .world_size = request_.world_size,
                                        .host = own_host_name(),
                                        .configuration = request_.configuration})});
        const std::string rank_0 = describe_rank(0, host);
        bool is_closed = !send_all(connection.socket, hello, deadline);
        while (!is_closed && Clock::now() < deadline &&
               !wait_to_receive(connection.socket, Clock::now() + kBetweenLooks))
            check_interrupted();
        std::optional<Frame> answer;
        if (!is_closed)
            answer = receive_frame(connection, deadline, is_closed);
        if (is_closed)
            throw Error(rank_0 +
                        " is gone: its connection closed before all ranks had come; see its own "
                        "messages");
        if (!answer)
            throw Error(rank_0 + " has been silent for " + in_seconds(request_.time_limit) +
                        ": see whether it or its host is stopped");
        if (const std::optional<Failure> failure = failure_of(*answer))
            failure->raise();
        Met met;
        met.hosts = Unpacker(answer->bytes).texts();
        if (answer->kind != FrameKind::welcome ||
            met.hosts.size() != static_cast<std::size_t>(request_.world_size))
            throw Error(rank_0 +
                        ": answers in a way that is not known: install the same version "
                        "of this program on all hosts");
        met.local_address = local_address(connection.socket);
        met.connections.push_back(std::move(connection));
        return met;
    }

    std::string place() const {
        return request_.point.file.empty()
                   ? "at " + request_.point.host + ":" + std::to_string(request_.point.port)
                   : "by file " + request_.point.file;
    }

    const MeetingRequest& request_;
    Clock::time_point deadline_;
    std::string why_ = "nothing was tried";
};

}  // namespace

std::string describe_rank(int rank, const std::string& host) {
    return "rank " + std::to_string(rank) + " (host " + host + ")";
}

std::string in_seconds(milliseconds time) {
    char text[32];
    std::snprintf(text, sizeof text, "%g s", static_cast<double>(time.count()) / 1000);
    return text;
}

Met meet(const MeetingRequest& request) {
    if (request.rank == 0)
        return Host(request).meet();
    return Guest(request).meet();
}

}  // namespace eplb
