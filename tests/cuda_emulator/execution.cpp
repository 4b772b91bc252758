#include "tests/cuda_emulator/execution.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "tests/cuda_emulator/device_language.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/fiber.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace cuda_emulator {
namespace {

constexpr int kWarpSize = 32;

enum class State { ready, in_barrier, in_warp, ended };

struct Thread {
    Fiber fiber;
    State state = State::ended;
    uint3 index = {};
    Place place;              // where it waits
    unsigned mask = 0;        // for which lanes
    std::uint64_t value = 0;  // what it brought
};

struct Warp {
    std::array<std::uint64_t, kWarpSize> values;  // of the last meeting
};

// The block that runs. One at a time, whoever launches it.
struct Block {
    std::mutex in_use;
    std::vector<std::unique_ptr<Thread>> threads;  // as many as any block had
    std::vector<Warp> warps;
    int num_threads = 0;
    int running = 0;  // the thread that runs
    const std::function<void()>* function = nullptr;
    std::exception_ptr failure;
    std::vector<std::byte> shared;
    std::uint64_t num_draws = 0;

    int below(int count) {
        return static_cast<int>(eplb::mix_bits(0x10001 + num_draws++) %
                                static_cast<std::uint64_t>(count));
    }
    Thread& thread(int i) { return *threads[i]; }
};

Block block;

std::string text(const Place& place) {
    return std::string(place.file_name()) + ":" + std::to_string(place.line());
}

std::string text(int thread) {
    const uint3& index = block.thread(thread).index;
    return "thread " + std::to_string(index.x) + "," + std::to_string(index.y) + "," +
           std::to_string(index.z) + " of block " + std::to_string(blockIdx.x) + "," +
           std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z);
}

bool same(const Place& a, const Place& b) {
    return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string whereabouts(int thread) {
    const Thread& other = block.thread(thread);
    switch (other.state) {
        case State::ended:
            return text(thread) + " has ended";
        case State::ready:
            return text(thread) + " runs";
        default:
            return text(thread) + " waits at " + text(other.place);
    }
}

void run_thread() {
    try {
        (*block.function)();
    } catch (...) {
        if (block.failure == nullptr)
            block.failure = std::current_exception();
    }
    block.thread(block.running).state = State::ended;
}

void resume(int i) {
    Thread& thread = block.thread(i);
    block.running = i;
    threadIdx = thread.index;
    thread.fiber.resume();
    if (block.failure != nullptr)
        std::rethrow_exception(std::exchange(block.failure, nullptr));
}

void wait(State state, Place place) {
    Thread& thread = block.thread(block.running);
    thread.state = state;
    thread.place = place;
    Fiber::suspend();
}

// Lets the lanes of a warp go on whose mask has come together. Whether there were any.
bool release_lanes(int warp) {
    const int first = warp * kWarpSize;
    const int num_lanes = std::min(kWarpSize, block.num_threads - first);
    bool released = false;
    for (int lane = 0; lane < num_lanes; ++lane) {
        const Thread& leader = block.thread(first + lane);
        if (leader.state != State::in_warp)
            continue;
        bool complete = true;
        for (int other = 0; other < kWarpSize && complete; ++other) {
            if ((leader.mask >> other & 1U) == 0)
                continue;
            if (other >= num_lanes)
                misuse(text(first + lane) + " waits at " + text(leader.place) +
                       " for a lane that the block does not have");
            const Thread& peer = block.thread(first + other);
            complete = peer.state == State::in_warp && same(peer.place, leader.place);
            if (complete && peer.mask != leader.mask)
                misuse(text(first + lane) + " and " + text(first + other) +
                       " name different lanes at " + text(leader.place));
        }
        if (!complete)
            continue;
        const unsigned mask = leader.mask;
        for (int other = 0; other < num_lanes; ++other)
            if ((mask >> other & 1U) != 0) {
                Thread& peer = block.thread(first + other);
                block.warps[warp].values[other] = peer.value;
                peer.state = State::ready;
            }
        released = true;
    }
    return released;
}

// Runs a warp until none of its lanes can go on by itself.
void run_warp(int warp) {
    const int first = warp * kWarpSize;
    const int num_lanes = std::min(kWarpSize, block.num_threads - first);
    do {
        const int start = block.below(num_lanes);
        const bool backwards = block.below(2) == 1;
        for (int i = 0; i < num_lanes; ++i) {
            const int lane = (backwards ? start + num_lanes - i : start + i) % num_lanes;
            if (block.thread(first + lane).state == State::ready)
                resume(first + lane);
        }
    } while (release_lanes(warp));
}

// All threads wait or have ended: the barrier is complete, or something is wrong.
void release_barrier() {
    int waiting = -1;
    for (int i = 0; i < block.num_threads; ++i) {
        const Thread& thread = block.thread(i);
        if (thread.state == State::in_warp) {
            for (int lane = 0; lane < kWarpSize; ++lane) {
                const int peer = i / kWarpSize * kWarpSize + lane;
                if ((thread.mask >> lane & 1U) != 0 && peer < block.num_threads &&
                    (block.thread(peer).state != State::in_warp ||
                     !same(block.thread(peer).place, thread.place)))
                    misuse(whereabouts(i) + " for lanes that never come: " + whereabouts(peer));
            }
        }
        if (thread.state == State::in_barrier && waiting < 0)
            waiting = i;
    }
    for (int i = 0; i < block.num_threads; ++i)
        if (block.thread(i).state != State::in_barrier ||
            !same(block.thread(i).place, block.thread(waiting).place))
            misuse(whereabouts(waiting) + " for all threads, but " + whereabouts(i));
    for (int i = 0; i < block.num_threads; ++i)
        block.thread(i).state = State::ready;
}

void run_block(const Extent& size, std::size_t shared_bytes) {
    // exactly as large as asked for, so that the sanitizer sees what is beyond; of old or no value
    block.shared = std::vector<std::byte>();
    block.shared.resize(shared_bytes, std::byte{0xff});
    block.num_threads = static_cast<int>(size[0] * size[1] * size[2]);
    const int num_warps = (block.num_threads + kWarpSize - 1) / kWarpSize;
    block.warps.resize(num_warps);
    while (block.threads.size() < static_cast<std::size_t>(block.num_threads))
        block.threads.push_back(std::make_unique<Thread>());
    for (int i = 0; i < block.num_threads; ++i) {
        Thread& thread = block.thread(i);
        const auto index = static_cast<unsigned>(i);
        thread.index = {index % size[0], index / size[0] % size[1], index / (size[0] * size[1])};
        thread.state = State::ready;
        thread.fiber.reset(run_thread);
    }
    std::vector<int> order(num_warps);
    std::iota(order.begin(), order.end(), 0);
    while (true) {
        for (int i = num_warps - 1; i > 0; --i)
            std::swap(order[i], order[block.below(i + 1)]);
        for (const int warp : order)
            run_warp(warp);
        bool ended = true;
        for (int i = 0; i < block.num_threads; ++i)
            ended = ended && block.thread(i).state == State::ended;
        if (ended)
            return;
        release_barrier();
    }
}

}  // namespace

void run_grid(const Extent& grid,
              const Extent& size,
              std::size_t shared_bytes,
              const std::function<void()>& thread) {
    const std::lock_guard lock(block.in_use);
    block.function = &thread;
    blockDim = {size[0], size[1], size[2]};
    gridDim = {grid[0], grid[1], grid[2]};
    const std::uint64_t num_blocks = std::uint64_t{grid[0]} * grid[1] * grid[2];
    std::vector<std::uint64_t> order(num_blocks);
    std::iota(order.begin(), order.end(), std::uint64_t{0});
    for (std::uint64_t i = num_blocks - 1; i > 0; --i)
        std::swap(order[i], order[eplb::mix_bits(1 + i + block.num_draws++) % (i + 1)]);
    for (const std::uint64_t i : order) {
        blockIdx = {static_cast<unsigned>(i % grid[0]),
                    static_cast<unsigned>(i / grid[0] % grid[1]),
                    static_cast<unsigned>(i / grid[0] / grid[1])};
        run_block(size, shared_bytes);
    }
}

void block_barrier(Place place) {
    wait(State::in_barrier, place);
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t value, Place place) {
    Thread& thread = block.thread(block.running);
    if ((mask >> lane_id() & 1U) == 0)
        misuse_of_lane(place, "does not name itself");
    thread.mask = mask;
    thread.value = value;
    const int warp = block.running / kWarpSize;
    wait(State::in_warp, place);
    return block.warps[warp].values.data();
}

int lane_id() {
    return block.running % kWarpSize;
}

void misuse_of_lane(Place place, const char* what) {
    misuse(text(block.running) + " at " + text(place) + " " + what);
}

void* dynamic_shared_memory() {
    return block.shared.data();
}

}  // namespace cuda_emulator
