#ifndef EPLB_KERNELS_COMMUNICATOR_H
#define EPLB_KERNELS_COMMUNICATOR_H

#include <cstddef>
#include <cstdint>
#include <span>

namespace eplb {

// Moves data between the devices of a run, in the memory of their backends. Every device makes the
// same calls in the same order. Calls are ordered with those of the device's backend, and like them
// may return before the data is there.
//
// Where a device fails, all others' calls throw an Error that names it, within bounded time: here,
// or in the backend's next call that waits.
class Communicator {
  public:
    virtual ~Communicator() = default;

    virtual int rank() const = 0;  // of this device, in [0, size())
    virtual int size() const = 0;

    // num_bytes of `send` of every device, in their order, into receive [size()][num_bytes].
    virtual void all_gather(const void* send, std::size_t num_bytes, void* receive) = 0;

    // Bytes [send_begin[d], send_begin[d + 1]) of `send` go to device d, this one included. What
    // device d sends here arrives at [receive_begin[d], receive_begin[d + 1]) of `receive`: both
    // sides know the sizes, which may be 0. Offsets are host memory, [size() + 1] each.
    virtual void exchange(const void* send,
                          std::span<const std::int64_t> send_begin,
                          void* receive,
                          std::span<const std::int64_t> receive_begin) = 0;
};

}  // namespace eplb

#endif
