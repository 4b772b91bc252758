#ifndef EPLB_CLUSTER_WIRE_H
#define EPLB_CLUSTER_WIRE_H

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"

// What processes of a run say to each other: frames, a header and some bytes. Numbers are
// little-endian.
namespace eplb {

enum class FrameKind : std::uint8_t {
    greeting = 1,  // rank 0, to whoever connects: its nonce, its host
    hello,         // a member's answer: who it is
    welcome,       // all have come: hosts of the ranks
    message,       // a part of a call
    heartbeat,     // nothing else was to be said for a while
    failure,       // a member has failed: who and why
    goodbye,       // a member ends, as planned
    data_hello,    // opens a connection between two members for data
    interruption,  // a failure whose cause is a signal
};

// The calls of a group that send messages.
enum class Operation : std::uint8_t { none, all_gather, gather, barrier };
const char* name_of(Operation operation);

struct Frame {
    FrameKind kind = FrameKind::heartbeat;
    Operation operation = Operation::none;
    std::uint64_t call = 0;  // number of the call, the same at all members
    std::string bytes;
};

// More in one frame is an Error at the sender, and foreign at the receiver.
inline constexpr std::uint64_t kMaxFrameBytes = std::uint64_t{1} << 30;

std::string encode(const Frame& frame);

// Frames out of a stream of bytes.
class FrameReader {
  public:
    void append(std::string_view bytes);

    // The next whole frame. Throws a ForeignError where the bytes are none of ours, an Error where
    // they are of another version of this program; the texts have no subject.
    std::optional<Frame> next();

  private:
    std::string buffer_;
    std::size_t begin_ = 0;
};

// What answers, or calls, is another program.
class ForeignError : public Error {
  public:
    using Error::Error;
};

// Numbers and texts as bytes, one after the other.
std::string pack_number(std::uint64_t number);
std::string pack_texts(std::span<const std::string> texts);

class Unpacker {
  public:
    explicit Unpacker(std::string_view bytes) : rest_(bytes) {}
    // Throw an Error where bytes are missing.
    std::uint64_t number();
    std::string text();
    std::vector<std::string> texts();

  private:
    std::string_view take(std::uint64_t size);
    std::string_view rest_;
};

// Why a member has ended before it was done.
struct Failure {
    std::string text;  // who and why
    bool is_interruption = false;

    std::string frame() const;        // encoded
    [[noreturn]] void raise() const;  // an Error, or an InterruptedError
};
// Nothing where the frame tells of none.
std::optional<Failure> failure_of(const Frame& frame);

}  // namespace eplb

#endif
