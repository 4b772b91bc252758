#include "lib/cluster/thread_group.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/cluster/star_group.h"

namespace eplb {
namespace {

std::string describe_thread(int rank) {
    return "rank " + std::to_string(rank) + " (a thread)";
}

}  // namespace

class ThreadGroup::Shared {
  public:
    explicit Shared(int size) : links_(static_cast<std::size_t>(size)) {}

    int size() const { return static_cast<int>(links_.size()); }

    void check() {
        const std::lock_guard lock(mutex_);
        throw_failure();
    }

    void fail(const Failure& failure) {
        const std::lock_guard lock(mutex_);
        set_failure(failure);
    }

    void leave(int rank) {
        const std::lock_guard lock(mutex_);
        links_[rank].has_left = true;
        changed_.notify_all();
    }

    void send(int from, int to, Frame frame) {
        const std::lock_guard lock(mutex_);
        throw_failure();
        inbox(from, to).push_back(std::move(frame));
        changed_.notify_all();
    }

    Frame receive(int from, int to, const Frame& call) {
        std::unique_lock lock(mutex_);
        std::deque<Frame>& frames = inbox(from, to);
        while (true) {
            throw_failure();
            if (!frames.empty()) {
                Frame frame = std::move(frames.front());
                frames.pop_front();
                return frame;
            }
            if (links_[from].has_left)
                set_failure({describe_thread(from) + " has ended without taking part in call " +
                             std::to_string(call.call) + ", " + name_of(call.operation) +
                             ": see its own messages"});
            else
                changed_.wait(lock);
        }
    }

  private:
    // Between rank 0 and another rank.
    struct Link {
        std::deque<Frame> to_rank_0;
        std::deque<Frame> from_rank_0;
        bool has_left = false;
    };

    std::deque<Frame>& inbox(int from, int to) {
        return to == 0 ? links_[from].to_rank_0 : links_[to].from_rank_0;
    }

    void set_failure(const Failure& failure) {
        if (!failure_)
            failure_ = failure;
        changed_.notify_all();
    }

    void throw_failure() const {
        if (failure_)
            failure_->raise();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Link> links_;
    std::optional<Failure> failure_;
};

class ThreadGroup::Member final : public StarGroup {
  public:
    Member(std::shared_ptr<Shared> shared, int rank)
        : shared_(std::move(shared)), rank_(rank), exceptions_(std::uncaught_exceptions()) {}
    ~Member() override {
        if (std::uncaught_exceptions() > exceptions_)
            fail("it ended with an error; see its own messages");
        shared_->leave(rank_);
    }
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    int rank() const override { return rank_; }
    int size() const override { return shared_->size(); }
    void check() override { shared_->check(); }

    void fail(std::string_view why) noexcept override { end(why, false); }
    void interrupt() noexcept override { end(kItWasInterrupted, true); }

  protected:
    void send(int to, Frame frame) override { shared_->send(rank_, to, std::move(frame)); }
    Frame receive(int from, const Frame& call) override {
        return shared_->receive(from, rank_, call);
    }
    [[noreturn]] void fail_all(const std::string& text) override {
        shared_->fail({text});
        shared_->check();
        throw Error(text);  // not reached: the failure is set
    }
    std::string describe(int rank) const override { return describe_thread(rank); }

  private:
    void end(std::string_view why, bool is_interruption) noexcept {
        try {
            shared_->fail({describe(rank_) + " failed: " + std::string(why), is_interruption});
        } catch (const std::exception&) {
            // without memory for the text the others see that this member has left
        }
    }

    std::shared_ptr<Shared> shared_;
    int rank_;
    int exceptions_;
};

ThreadGroup::ThreadGroup(int size) : shared_(std::make_shared<Shared>(size)) {}

std::unique_ptr<ProcessGroup> ThreadGroup::member(int rank) {
    return std::make_unique<Member>(shared_, rank);
}

}  // namespace eplb
