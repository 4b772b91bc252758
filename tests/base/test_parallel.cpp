#include <atomic>
#include <stdexcept>
#include <vector>

#include "lib/base/parallel.h"
#include "tests/catch.h"

namespace eplb::test_parallel {

namespace {

// how often each index was called
std::vector<int> calls(ThreadPool& pool, std::int64_t count) {
    std::vector<std::atomic<int>> counters(count);
    pool.for_each(count, [&](std::int64_t i) { ++counters[i]; });
    return {counters.begin(), counters.end()};
}

}  // namespace

TEST_CASE("every index is called once, whatever the number of threads") {
    for (const int num_threads : {1, 2, 3, 16}) {
        ThreadPool pool(num_threads);
        CHECK(pool.num_threads() == num_threads);
        for (const std::int64_t count : {0, 1, 2, 15, 16, 17, 10'000})
            CHECK(calls(pool, count) == std::vector<int>(count, 1));
    }
}

TEST_CASE("without a number there is a thread per processor, at least one") {
    CHECK(ThreadPool().num_threads() >= 1);
}

TEST_CASE("the number of the running thread is in range and not shared while it runs") {
    ThreadPool pool(4);
    std::vector<std::atomic<int>> inside(4);
    std::atomic<bool> is_wrong = false;
    pool.for_each(1000, [&](std::int64_t, int thread) {
        if (thread < 0 || thread >= 4 || ++inside[thread] != 1)
            is_wrong = true;
        --inside[thread];
    });
    CHECK_FALSE(is_wrong);
}

TEST_CASE("an exception in a body is rethrown and the pool works on") {
    for (const int num_threads : {1, 4}) {
        ThreadPool pool(num_threads);
        const auto fail_at_7 = [](std::int64_t i) {
            if (i == 7)
                throw std::runtime_error("seven");
        };
        CHECK_THROWS_AS(pool.for_each(100, fail_at_7), std::runtime_error);
        CHECK_THROWS_AS(pool.for_each(100, [](std::int64_t) { throw 1; }), int);
        CHECK(calls(pool, 50) == std::vector<int>(50, 1));
    }
}

TEST_CASE("a pool serves many loops, one after the other") {
    ThreadPool pool(3);
    std::atomic<std::int64_t> sum = 0;
    for (int round = 0; round < 2000; ++round)
        pool.for_each(3, [&](std::int64_t i) { sum += i; });
    CHECK(sum == 2000 * 3);
}

}  // namespace eplb::test_parallel
