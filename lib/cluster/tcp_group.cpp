#include "lib/cluster/tcp_group.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/cluster/meeting.h"

namespace eplb {
namespace {

using std::chrono::milliseconds;

// Heartbeats come several times before silence would be a failure, and often enough that all
// members see the same failure at about the same time.
constexpr int kHeartbeatsPerLimit = 5;
constexpr auto kMaxBetweenHeartbeats = milliseconds(2000);

// Signals are for the thread that the tool expects them in.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_;
};

// Wakes a thread that is in poll(2).
class Bell {
  public:
    Bell() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
        if (fd_ < 0)
            throw Error(std::string("process group: no event descriptor: ") + std::strerror(errno) +
                        "; raise the limit of open files (ulimit -n)");
    }
    ~Bell() { ::close(fd_); }
    Bell(const Bell&) = delete;
    Bell& operator=(const Bell&) = delete;

    int fd() const { return fd_; }
    void ring() const { ::eventfd_write(fd_, 1); }
    void silence() const {
        eventfd_t count = 0;
        ::eventfd_read(fd_, &count);
    }

  private:
    int fd_;
};

// The connection to one other process, what is to be sent there and what has come from it.
struct Link {
    int rank = 0;
    Connection connection;
    std::string outbox;
    std::size_t num_sent = 0;  // of outbox
    std::deque<Frame> inbox;   // messages
    bool has_left = false;     // it said goodbye
    bool is_ending = false;    // nothing more will be put into outbox
    Clock::time_point last_heard;
    Clock::time_point last_sent;

    bool is_open() const { return connection.socket.is_open(); }
    bool is_sent() const { return num_sent == outbox.size(); }
};

}  // namespace

// What the process and its watching thread share, all under one mutex.
class TcpProcessGroup::Wires {
  public:
    Wires(const Launch& launch, const TcpGroupOptions& options)
        : rank_(launch.rank),
          silence_limit_(options.silence_limit),
          between_heartbeats_(
              std::min(kMaxBetweenHeartbeats, options.silence_limit / kHeartbeatsPerLimit)),
          leaving_(2 * options.last_message) {
        if (launch.world_size == 1) {
            hosts_ = {own_host_name()};
            local_address_ = "127.0.0.1";
            return;
        }
        Met met = meet({.rank = launch.rank,
                        .world_size = launch.world_size,
                        .point = launch.meeting_point,
                        .configuration = options.configuration,
                        .time_limit = options.meeting_limit,
                        .last_message = options.last_message,
                        .is_interrupted = options.is_interrupted});
        hosts_ = std::move(met.hosts);
        local_address_ = std::move(met.local_address);
        links_.resize(met.connections.size());
        last_round_ = Clock::now();
        for (std::size_t i = 0; i < links_.size(); ++i) {
            links_[i].rank = rank_ == 0 ? static_cast<int>(i) : 0;
            links_[i].connection = std::move(met.connections[i]);
            links_[i].last_heard = links_[i].last_sent = last_round_;
        }
        const SignalsBlocked blocked;
        try {
            watcher_ = std::thread([this] { watch(); });
        } catch (const std::system_error& error) {
            throw Error(std::string("process group: cannot start a thread: ") + error.what() +
                        "; raise the limit of processes (ulimit -u)");
        }
    }

    ~Wires() {
        if (!watcher_.joinable())
            return;
        leave();
        {
            const std::lock_guard lock(mutex_);
            is_stopped_ = true;
        }
        bell_.ring();
        watcher_.join();
    }

    int rank() const { return rank_; }
    const std::vector<std::string>& hosts() const { return hosts_; }
    const std::string& local_address() const { return local_address_; }
    std::string describe(int rank) const { return describe_rank(rank, hosts_[rank]); }

    void check() {
        const std::lock_guard lock(mutex_);
        throw_failure();
    }

    // Sends what it can at once; the watcher sends the rest.
    void send(int to, const Frame& frame) {
        const std::string bytes = encode(frame);
        const std::lock_guard lock(mutex_);
        throw_failure();
        Link& link = link_to(to);
        if (link.is_open())
            put(link, bytes);
        if (!link.is_sent())
            bell_.ring();
    }

    Frame receive(int from, const Frame& call) {
        std::unique_lock lock(mutex_);
        Link& link = link_to(from);
        while (true) {
            throw_failure();
            if (!link.inbox.empty()) {
                Frame frame = std::move(link.inbox.front());
                link.inbox.pop_front();
                return frame;
            }
            if (link.has_left)
                set_failure({describe(from) + " has ended without taking part in call " +
                             std::to_string(call.call) + ", " + name_of(call.operation) +
                             ": see its own messages"});
            else
                changed_.wait(lock);
        }
    }

    // The first failure stays; all members are told.
    void set_failure_and_tell(const std::string& text) {
        const std::lock_guard lock(mutex_);
        set_failure({text});
        bell_.ring();
    }

    // This process has failed: returns when the others were told, as far as they listen.
    void fail(const Failure& failure) {
        std::unique_lock lock(mutex_);
        if (failure_)
            return;
        set_failure(failure);
        bell_.ring();
        changed_.wait_for(lock, leaving_, [&] {
            return std::all_of(links_.begin(), links_.end(),
                               [](const Link& link) { return !link.is_open() || link.is_sent(); });
        });
    }

    [[noreturn]] void throw_now() {
        const std::lock_guard lock(mutex_);
        throw_failure();
        throw Error("process group: failed");  // not reached: a failure is set
    }

  private:
    Link& link_to(int rank) { return links_[rank_ == 0 ? static_cast<std::size_t>(rank) : 0]; }

    void throw_failure() const {
        if (failure_)
            failure_->raise();
    }

    void put(Link& link, std::string_view bytes) {
        if (link.is_sent()) {
            link.outbox.clear();
            link.num_sent = 0;
        }
        link.outbox.append(bytes);
        flush(link);
    }

    // a connection that turns out to be closed is dealt with where it is read
    void flush(Link& link) {
        while (link.is_open() && !link.is_sent()) {
            const Moved moved = send_some(link.connection.socket,
                                          std::string_view(link.outbox).substr(link.num_sent));
            link.num_sent = moved.is_closed ? link.outbox.size() : link.num_sent + moved.num_bytes;
            if (moved.num_bytes == 0)
                break;
            link.last_sent = Clock::now();
        }
        if (link.is_open() && link.is_sent()) {
            if (link.is_ending)
                link.connection.socket.end_sending();
            changed_.notify_all();
        }
    }

    // Tells all but the one that said it, if it came from one.
    void set_failure(const Failure& failure, const Link* source = nullptr) {
        if (failure_)
            return;
        failure_ = failure;
        const std::string bytes = failure.frame();
        for (Link& link : links_)
            if (link.is_open() && !link.is_ending && &link != source)
                put(link, bytes);
        changed_.notify_all();
    }

    // Says goodbye and waits until all others have left (rank 0) or rank 0 has read all that was
    // said to it; after a failure, until they have read that, or for a moment.
    void leave() {
        std::unique_lock lock(mutex_);
        const auto is_over = [&] {
            return std::none_of(links_.begin(), links_.end(),
                                [](const Link& link) { return link.is_open(); });
        };
        if (!failure_) {
            for (Link& link : links_)
                if (link.is_open())
                    put(link, encode({.kind = FrameKind::goodbye, .bytes = {}}));
            // rank 0 goes on with its heartbeats
            if (rank_ != 0)
                end_links();
            changed_.wait(lock, [&] { return failure_ || is_over(); });
        }
        end_links();
        changed_.wait_for(lock, leaving_, is_over);
    }

    // The other end sees the end once it has read what is to be sent, and closes.
    void end_links() {
        for (Link& link : links_) {
            link.is_ending = true;
            flush(link);
        }
        bell_.ring();
    }

    // The watching thread.
    void watch() {
        {
            // rank 0 may have said more than its welcome before this began
            const std::lock_guard lock(mutex_);
            for (Link& link : links_)
                read(link);
        }
        std::vector<pollfd> entries;
        while (true) {
            entries.assign(1, {.fd = bell_.fd(), .events = POLLIN, .revents = 0});
            {
                const std::lock_guard lock(mutex_);
                if (is_stopped_)
                    return;
                for (const Link& link : links_)
                    entries.push_back(
                        {.fd = link.connection.socket.fd(),  // -1 is passed over
                         .events = static_cast<short>(link.is_sent() ? POLLIN : POLLIN | POLLOUT),
                         .revents = 0});
            }
            ::poll(
                entries.data(), entries.size(),
                static_cast<int>(std::max<milliseconds::rep>(between_heartbeats_.count() / 2, 1)));
            bell_.silence();
            const std::lock_guard lock(mutex_);
            for (std::size_t i = 0; i < links_.size(); ++i) {
                if ((entries[i + 1].revents & POLLOUT) != 0)
                    flush(links_[i]);
                if ((entries[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                    read(links_[i]);
            }
            look_at_clock();
        }
    }

    void read(Link& link) {
        try {
            read_bytes(link);
            while (auto frame = link.connection.frames.next())
                take(link, std::move(*frame));
        } catch (const std::exception& error) {
            set_failure({describe(link.rank) + " " + error.what()});
            close(link);
        }
    }

    void read_bytes(Link& link) {
        // not for ever: others want to be read too
        for (int round = 0; round < 64 && link.is_open(); ++round) {
            char bytes[1 << 16];
            const Moved moved = receive_some(link.connection.socket, bytes, sizeof bytes);
            if (moved.num_bytes > 0) {
                link.last_heard = Clock::now();
                link.connection.frames.append({bytes, moved.num_bytes});
            }
            if (moved.is_closed) {
                // what came before the end counts
                while (auto frame = link.connection.frames.next())
                    take(link, std::move(*frame));
                if (!link.has_left)
                    set_failure({describe(link.rank) +
                                 " is gone: its connection closed; see its own messages"});
                close(link);
            }
            if (moved.num_bytes < sizeof bytes)
                break;
        }
    }

    void take(Link& link, Frame frame) {
        switch (frame.kind) {
            case FrameKind::message:
                link.inbox.push_back(std::move(frame));
                break;
            case FrameKind::failure:
            case FrameKind::interruption:
                link.has_left = true;
                set_failure(*failure_of(frame), &link);
                break;
            case FrameKind::goodbye:
                link.has_left = true;
                break;
            default:
                break;  // a heartbeat
        }
        changed_.notify_all();
    }

    void close(Link& link) {
        link.connection.socket.close();
        link.has_left = true;
        changed_.notify_all();
    }

    void look_at_clock() {
        const Clock::time_point now = Clock::now();
        // whoever was stopped itself has not listened
        const bool was_stopped = now - last_round_ > silence_limit_ / 2;
        last_round_ = now;
        for (Link& link : links_) {
            if (!link.is_open())
                continue;
            if (was_stopped)
                link.last_heard = now;
            if (now - link.last_heard > silence_limit_) {
                if (!link.has_left)
                    set_failure({describe(link.rank) + " has been silent for " +
                                 in_seconds(silence_limit_) +
                                 ": see whether it is stopped, or its host cannot be reached"});
                close(link);  // nobody waits until it has read that
                continue;
            }
            if (!link.is_ending && link.is_sent() && now - link.last_sent >= between_heartbeats_)
                put(link, encode({.kind = FrameKind::heartbeat, .bytes = {}}));
        }
    }

    const int rank_;
    const milliseconds silence_limit_;
    const milliseconds between_heartbeats_;
    const milliseconds leaving_;  // a last message leaves, and is read
    std::vector<std::string> hosts_;
    std::string local_address_;
    Bell bell_;

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Link> links_;  // rank 0: by rank, its own closed; others: one
    std::optional<Failure> failure_;
    bool is_stopped_ = false;
    Clock::time_point last_round_;
    std::thread watcher_;
};

TcpProcessGroup::TcpProcessGroup(const Launch& launch, const TcpGroupOptions& options)
    : wires_(std::make_unique<Wires>(launch, options)), exceptions_(std::uncaught_exceptions()) {}

TcpProcessGroup::~TcpProcessGroup() {
    if (std::uncaught_exceptions() > exceptions_)
        fail("it ended with an error; see its own messages");
}

int TcpProcessGroup::rank() const {
    return wires_->rank();
}

int TcpProcessGroup::size() const {
    return static_cast<int>(wires_->hosts().size());
}

void TcpProcessGroup::check() {
    wires_->check();
}

void TcpProcessGroup::fail(std::string_view why) noexcept {
    end(why, false);
}

void TcpProcessGroup::interrupt() noexcept {
    end(kItWasInterrupted, true);
}

void TcpProcessGroup::end(std::string_view why, bool is_interruption) noexcept {
    try {
        wires_->fail({describe(rank()) + " failed: " + std::string(why), is_interruption});
    } catch (const std::exception&) {
        // without memory for the text the others see the connection close
    }
}

const std::vector<std::string>& TcpProcessGroup::hosts() const {
    return wires_->hosts();
}

int TcpProcessGroup::local_rank() const {
    const auto& hosts = wires_->hosts();
    const auto self = hosts.begin() + rank();
    return static_cast<int>(std::count(hosts.begin(), self, *self));
}

const std::string& TcpProcessGroup::local_address() const {
    return wires_->local_address();
}

void TcpProcessGroup::send(int to, Frame frame) {
    wires_->send(to, frame);
}

Frame TcpProcessGroup::receive(int from, const Frame& call) {
    return wires_->receive(from, call);
}

void TcpProcessGroup::fail_all(const std::string& text) {
    wires_->set_failure_and_tell(text);
    wires_->throw_now();
}

std::string TcpProcessGroup::describe(int rank) const {
    return wires_->describe(rank);
}

}  // namespace eplb
