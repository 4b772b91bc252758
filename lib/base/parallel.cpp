#include "lib/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace eplb {
namespace {

int available_processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0)
        return std::max(1, CPU_COUNT(&set));
    return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

struct ThreadPool::State {
    const std::function<void(std::int64_t, int)>* body = nullptr;
    std::int64_t count = 0;
    std::atomic<std::int64_t> next{0};
    std::mutex mutex;
    std::condition_variable start;
    std::condition_variable done;
    std::uint64_t generation = 0;
    int num_running = 0;
    bool stop = false;
    std::exception_ptr error;
    std::vector<std::thread> threads;

    void run(int thread) {
        try {
            for (std::int64_t i = next++; i < count; i = next++)
                (*body)(i, thread);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!error)
                error = std::current_exception();
            next = count;
        }
    }

    void work(int thread) {
        std::uint64_t seen = 0;
        std::unique_lock lock(mutex);
        while (true) {
            start.wait(lock, [&] { return stop || generation != seen; });
            if (stop)
                return;
            seen = generation;
            lock.unlock();
            run(thread);
            lock.lock();
            if (--num_running == 0)
                done.notify_one();
        }
    }
};

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
    const int total = num_threads > 0 ? num_threads : available_processors();
    for (int thread = 1; thread < total; ++thread)
        state_->threads.emplace_back([state = state_.get(), thread] { state->work(thread); });
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stop = true;
    }
    state_->start.notify_all();
    for (std::thread& thread : state_->threads)
        thread.join();
}

int ThreadPool::num_threads() const {
    return static_cast<int>(state_->threads.size()) + 1;
}

void ThreadPool::for_each(std::int64_t count, const std::function<void(std::int64_t)>& body) {
    for_each(count, [&](std::int64_t i, int) { body(i); });
}

void ThreadPool::for_each(std::int64_t count, const std::function<void(std::int64_t, int)>& body) {
    State& state = *state_;
    {
        const std::lock_guard lock(state.mutex);
        state.body = &body;
        state.count = count;
        state.next = 0;
        state.error = nullptr;
        state.num_running = static_cast<int>(state.threads.size());
        ++state.generation;
    }
    state.start.notify_all();
    state.run(0);
    std::unique_lock lock(state.mutex);
    state.done.wait(lock, [&] { return state.num_running == 0; });
    if (state.error)
        std::rethrow_exception(state.error);
}

}  // namespace eplb
