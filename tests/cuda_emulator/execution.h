#ifndef EPLB_TESTS_CUDA_EMULATOR_EXECUTION_H
#define EPLB_TESTS_CUDA_EMULATOR_EXECUTION_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

// How blocks of threads run.
namespace cuda_emulator {

// Where a call stands, as a default argument; clang before 16 has no std::source_location.
class Place {
  public:
    static constexpr Place current(const char* file = __builtin_FILE(),
                                   unsigned line = __builtin_LINE()) {
        Place place;
        place.file_ = file;
        place.line_ = line;
        return place;
    }

    const char* file_name() const { return file_; }
    unsigned line() const { return line_; }

  private:
    const char* file_ = "";
    unsigned line_ = 0;
};
using Extent = std::array<unsigned, 3>;

// Calls thread() once for every thread of every block, with threadIdx and the others set. Blocks
// run one after another, the threads of a block as fibers.
void run_grid(const Extent& grid,
              const Extent& block,
              std::size_t shared_bytes,
              const std::function<void()>& thread);

// What follows is called by the threads of a block.

// Returns when all threads of the block have come to the same place.
void block_barrier(Place place);

// Returns when all lanes of the mask have come to the same place, with what each has brought:
// [32], those of the mask; valid until the next meeting.
const std::uint64_t* exchange(unsigned mask, std::uint64_t value, Place place);

int lane_id();
[[noreturn]] void misuse_of_lane(Place place, const char* what);

// The block's dynamic shared memory, as large as the launch says.
void* dynamic_shared_memory();

}  // namespace cuda_emulator

#endif
