#ifndef EPLB_TESTS_CUDA_EMULATOR_DEVICE_LANGUAGE_H
#define EPLB_TESTS_CUDA_EMULATOR_DEVICE_LANGUAGE_H

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulator/execution.h"

// What CUDA adds to C++, as far as the kernels use it.

#define __global__
#define __host__
#define __device__
#define __launch_bounds__(...)
// Blocks run one after another: one place serves all.
#define __shared__ static

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
// Kernels read and write memory of other types through them.
struct alignas(8) [[gnu::may_alias]] uint2 {
    unsigned x, y;
};
struct alignas(16) [[gnu::may_alias]] uint4 {
    unsigned x, y, z, w;
};

// of the thread that runs
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

using cuda_emulator::Place;

inline void __syncthreads(Place place = Place::current()) {
    cuda_emulator::block_barrier(place);
}
inline void __syncwarp(unsigned mask = 0xffffffffU, Place place = Place::current()) {
    cuda_emulator::exchange(mask, 0, place);
}

namespace cuda_emulator {

template <typename T>
std::uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}

template <typename T>
T from_bits(std::uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// The value of lane `source` of the caller's segment of `width` lanes; the caller's own where there
// is no such lane.
template <typename T>
T shuffle(unsigned mask, T value, int source, int width, Place place) {
    const std::uint64_t* const values = exchange(mask, to_bits(value), place);
    const int segment = lane_id() & ~(width - 1);
    if (source < segment || source >= segment + width)
        return value;
    if ((mask >> source & 1U) == 0)
        misuse_of_lane(place, "reads a lane that does not take part");
    return from_bits<T>(values[source]);
}

template <typename T, typename Operation>
T reduce(unsigned mask, T value, Operation operation, Place place) {
    const std::uint64_t* const values = exchange(mask, to_bits(value), place);
    T result = value;
    for (int lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1U) != 0)
            result = operation(result, from_bits<T>(values[lane]));
    return result;
}

}  // namespace cuda_emulator

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, Place place = Place::current()) {
    const int segment = cuda_emulator::lane_id() & ~(width - 1);
    return cuda_emulator::shuffle(mask, value, segment + (source & (width - 1)), width, place);
}
template <typename T>
T __shfl_up_sync(
    unsigned mask, T value, unsigned delta, int width = 32, Place place = Place::current()) {
    return cuda_emulator::shuffle(mask, value, cuda_emulator::lane_id() - static_cast<int>(delta),
                                  width, place);
}
template <typename T>
T __shfl_xor_sync(
    unsigned mask, T value, int lane_mask, int width = 32, Place place = Place::current()) {
    return cuda_emulator::shuffle(mask, value, cuda_emulator::lane_id() ^ lane_mask, width, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, Place place = Place::current()) {
    const std::uint64_t* const values =
        cuda_emulator::exchange(mask, predicate != 0 ? 1U : 0U, place);
    unsigned result = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1U) != 0 && values[lane] != 0)
            result |= 1U << lane;
    return result;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value, Place place = Place::current()) {
    const std::uint64_t* const values =
        cuda_emulator::exchange(mask, cuda_emulator::to_bits(value), place);
    unsigned result = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1U) != 0 && values[lane] == cuda_emulator::to_bits(value))
            result |= 1U << lane;
    return result;
}

// int and unsigned only, as on the device
inline int __reduce_max_sync(unsigned mask, int value, Place place = Place::current()) {
    return cuda_emulator::reduce(
        mask, value, [](int a, int b) { return std::max(a, b); }, place);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, Place place = Place::current()) {
    return cuda_emulator::reduce(
        mask, value, [](unsigned a, unsigned b) { return std::max(a, b); }, place);
}
inline int __reduce_min_sync(unsigned mask, int value, Place place = Place::current()) {
    return cuda_emulator::reduce(
        mask, value, [](int a, int b) { return std::min(a, b); }, place);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, Place place = Place::current()) {
    return cuda_emulator::reduce(
        mask, value, [](unsigned a, unsigned b) { return std::min(a, b); }, place);
}

// Threads change at meeting points only: plain operations are atomic.
template <typename T>
T atomicAdd(T* address, T value) {
    const T old = *address;
    *address = old + value;
    return old;
}

inline int __popc(unsigned bits) {
    return std::popcount(bits);
}
inline int __ffs(int bits) {
    return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1;
}
inline float __fmaf_rn(float a, float b, float c) {
    return std::fmaf(a, b, c);
}

#endif
