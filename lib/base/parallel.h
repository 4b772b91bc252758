#ifndef EPLB_BASE_PARALLEL_H
#define EPLB_BASE_PARALLEL_H

#include <cstdint>
#include <functional>
#include <memory>

namespace eplb {

// A fixed set of threads that share loops. Results must not depend on which thread runs which
// index: every body writes to its own place.
class ThreadPool {
  public:
    // num_threads >= 1, the calling thread included; 0 means one per processor that this process
    // may use. Error where the system gives fewer.
    explicit ThreadPool(int num_threads = 0);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int num_threads() const;

    // Calls body(i) once for every i in [0, count), on any thread, and returns when all are done.
    // Where bodies throw, no further index is begun and the exception of the lowest index is
    // rethrown here: the same one for any number of threads. Not reentrant.
    void for_each(std::int64_t count, const std::function<void(std::int64_t)>& body);

    // The same with the number of the running thread, in [0, num_threads()), for scratch space.
    void for_each(std::int64_t count,
                  const std::function<void(std::int64_t index, int thread)>& body);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace eplb

#endif
