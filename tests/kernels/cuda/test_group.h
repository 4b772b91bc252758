#ifndef EPLB_TESTS_KERNELS_CUDA_TEST_GROUP_H
#define EPLB_TESTS_KERNELS_CUDA_TEST_GROUP_H

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/cluster/process_group.h"

namespace eplb::test {

// Threads as members of a group.
class TestGroup {
  public:
    explicit TestGroup(int size) : bytes_(static_cast<std::size_t>(size)) {}

    class Member final : public ProcessGroup {
      public:
        Member(TestGroup& group, int rank) : group_(group), rank_(rank) {}

        int rank() const override { return rank_; }
        int size() const override { return static_cast<int>(group_.bytes_.size()); }
        std::vector<std::string> all_gather(std::string_view bytes) override {
            return group_.gather(rank_, bytes);
        }
        std::vector<std::string> gather(std::string_view bytes) override {
            std::vector<std::string> all = group_.gather(rank_, bytes);
            return rank_ == 0 ? all : std::vector<std::string>();
        }
        void barrier() override { group_.gather(rank_, ""); }
        void check() override {
            const std::lock_guard lock(group_.mutex_);
            group_.throw_failure();
        }
        void fail(std::string_view why) noexcept override {
            const std::lock_guard lock(group_.mutex_);
            if (group_.failure_.empty())
                group_.failure_ = "rank " + std::to_string(rank_) + " failed: " + std::string(why);
            group_.changed_.notify_all();
        }

      private:
        TestGroup& group_;
        int rank_;
    };

  private:
    std::vector<std::string> gather(int rank, std::string_view bytes) {
        std::unique_lock lock(mutex_);
        const int round = round_;
        bytes_[static_cast<std::size_t>(rank)] = bytes;
        if (++num_here_ == static_cast<int>(bytes_.size())) {
            gathered_ = bytes_;
            num_here_ = 0;
            ++round_;
            changed_.notify_all();
        }
        changed_.wait(lock, [&] { return round_ != round || !failure_.empty(); });
        if (round_ == round)
            throw_failure();
        return gathered_;
    }
    void throw_failure() const {
        if (!failure_.empty())
            throw Error(failure_);
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> bytes_;
    std::vector<std::string> gathered_;
    std::string failure_;
    int num_here_ = 0;
    int round_ = 0;
};

}  // namespace eplb::test

#endif
