#ifndef EPLB_TESTS_CUDA_EMULATOR_EMULATOR_H
#define EPLB_TESTS_CUDA_EMULATOR_EMULATOR_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

// A GPU made of host code, for tests of the CUDA backend on machines without one.
//
// - The threads of a block are fibers that change only where threads meet: at barriers and warp
//   collectives. Blocks, warps and lanes run in a shuffled order. Threads that wait for others that
//   never come are an error, and so are barriers of different places.
// - Work put into a stream runs as late as the program allows: when somebody waits for it. Missing
//   waits and missing dependencies between streams show as old data.
// - Device memory is as large as was asked for, to the byte (the address sanitizer sees what lies
//   beyond), filled with NaNs, and known: pointers to other memory are an error where they are
//   passed as device memory.
//
// What it cannot show: speed, data races between threads that do not wait for each other, and
// limits of a real device beyond those of a launch.
//
// A mistake of the program (not of the device, which returns an error code) is a std::logic_error.
struct CUstream_st;

namespace cuda_emulator {

[[noreturn]] void misuse(const std::string& what);

// How many devices there are, 1 at the start; and how much memory each has, without bound at the
// start.
void set_device_count(int count);
void set_memory_size(std::size_t num_bytes);
int device_count();

// Allocations that were not freed, of device and pinned memory.
int num_allocations();

// Misuse unless all the bytes lie in one allocation of device memory.
void require_device_memory(const void* pointer, std::size_t num_bytes, const std::string& what);
// Whether the address lies in device memory.
bool is_device_memory(const void* pointer);
bool is_pinned_memory(const void* pointer);

// Puts work into a stream: for what stands in for other libraries.
void enqueue(CUstream_st* stream, std::function<void()> work);

// Work that may have to be run again: it says whether it is done, and what follows waits. It must
// not wait itself.
void enqueue_until_done(CUstream_st* stream, std::function<bool()> work);
// Runs one piece of a stream's work, if there is any: a device goes on by itself, whoever waits.
void advance(CUstream_st* stream);

}  // namespace cuda_emulator

#endif
