#include "lib/base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/base/error.h"

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
    std::int64_t error_index = 0;
    std::vector<std::thread> threads;

    void run(int thread) {
        std::int64_t i = 0;
        try {
            for (i = next++; i < count; i = next++)
                (*body)(i, thread);
        } catch (...) {
            // lower indices have begun and may throw yet
            const std::lock_guard lock(mutex);
            if (!error || i < error_index) {
                error = std::current_exception();
                error_index = i;
            }
            next = count;
        }
    }

    void stop_threads() {
        {
            const std::lock_guard lock(mutex);
            stop = true;
        }
        start.notify_all();
        for (std::thread& thread : threads)
            thread.join();
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
    try {
        for (int thread = 1; thread < total; ++thread)
            state_->threads.emplace_back([state = state_.get(), thread] { state->work(thread); });
    } catch (const std::system_error&) {
        const std::size_t made = state_->threads.size() + 1;
        state_->stop_threads();
        throw Error(std::to_string(total) + " threads: the system gives no more than " +
                    std::to_string(made));
    }
}

ThreadPool::~ThreadPool() {
    state_->stop_threads();
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
