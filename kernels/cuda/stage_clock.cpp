#include "kernels/cuda/stage_clock.h"

#include <algorithm>

namespace eplb {

void StageClock::begin(int stage) {
    // now and then, so that events do not pile up in long runs
    constexpr std::size_t kMostMarks = 1024;
    if (marks_.size() >= kMostMarks) {
        device_.wait(marks_[kMostMarks / 2].event.get());
        count_passed();
    }
    if (spare_.empty())
        spare_.emplace_back(device_, CudaEvent::Kind::timed);
    CudaEvent event = std::move(spare_.back());
    spare_.pop_back();
    device_.check(cudaEventRecord(event.get(), device_.stream()), "cudaEventRecord");
    marks_.push_back({std::move(event), stage});
    seconds_.resize(std::max<std::size_t>(seconds_.size(), stage + 1));
}

std::vector<double> StageClock::seconds() {
    if (!marks_.empty()) {
        begin(marks_.back().stage);
        device_.wait(marks_.back().event.get());
        count_passed();
    }
    return seconds_;
}

// Adds up the stages whose end the GPU has passed.
void StageClock::count_passed() {
    while (marks_.size() > 1) {
        const cudaError_t status = cudaEventQuery(marks_[1].event.get());
        if (status == cudaErrorNotReady)
            return;
        device_.check(status, "cudaEventQuery");
        float milliseconds = 0;
        device_.check(
            cudaEventElapsedTime(&milliseconds, marks_[0].event.get(), marks_[1].event.get()),
            "cudaEventElapsedTime");
        seconds_[marks_[0].stage] += 1e-3 * milliseconds;
        spare_.push_back(std::move(marks_[0].event));
        marks_.pop_front();
    }
}

}  // namespace eplb
