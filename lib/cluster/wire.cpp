#include "lib/cluster/wire.h"

#include <algorithm>

namespace eplb {
namespace {

constexpr std::string_view kMagic = "EPLB";
constexpr char kProtocolVersion = 1;
// magic, version, kind, operation, 0, call, size
constexpr std::size_t kHeaderSize = 24;

std::uint64_t read_number(const char* bytes) {
    std::uint64_t number = 0;
    for (int i = 7; i >= 0; --i)
        number = number << 8 | static_cast<unsigned char>(bytes[i]);
    return number;
}

}  // namespace

const char* name_of(Operation operation) {
    switch (operation) {
        case Operation::all_gather:
            return "all_gather";
        case Operation::gather:
            return "gather";
        case Operation::barrier:
            return "barrier";
        case Operation::none:
            break;
    }
    return "nothing";
}

std::string encode(const Frame& frame) {
    if (frame.bytes.size() > kMaxFrameBytes)
        throw Error("a message of " + std::to_string(frame.bytes.size()) +
                    " bytes between processes: at most " + std::to_string(kMaxFrameBytes) +
                    " are possible");
    std::string bytes(kMagic);
    bytes +=
        {kProtocolVersion, static_cast<char>(frame.kind), static_cast<char>(frame.operation), '\0'};
    bytes += pack_number(frame.call);
    bytes += pack_number(frame.bytes.size());
    return bytes += frame.bytes;
}

void FrameReader::append(std::string_view bytes) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    buffer_.append(bytes);
}

std::optional<Frame> FrameReader::next() {
    const std::string_view rest = std::string_view(buffer_).substr(begin_);
    const std::size_t num_magic = std::min(rest.size(), kMagic.size());
    if (rest.substr(0, num_magic) != kMagic.substr(0, num_magic))
        throw ForeignError("sends what is no message of this program");
    if (rest.size() > kMagic.size() && rest[kMagic.size()] != kProtocolVersion)
        throw Error("speaks version " + std::to_string(rest[kMagic.size()]) +
                    " of the protocol, this process version " + std::to_string(kProtocolVersion) +
                    ": install the same version of this program on all hosts");
    if (rest.size() < kHeaderSize)
        return std::nullopt;
    const std::uint64_t size = read_number(rest.data() + 16);
    if (size > kMaxFrameBytes)
        throw ForeignError("sends a message of " + std::to_string(size) + " bytes, too many");
    if (rest.size() < kHeaderSize + size)
        return std::nullopt;
    Frame frame{.kind = static_cast<FrameKind>(rest[5]),
                .operation = static_cast<Operation>(rest[6]),
                .call = read_number(rest.data() + 8),
                .bytes = std::string(rest.substr(kHeaderSize, size))};
    begin_ += kHeaderSize + size;
    return frame;
}

std::string pack_number(std::uint64_t number) {
    std::string bytes;
    for (int i = 0; i < 8; ++i)
        bytes += static_cast<char>(number >> (8 * i) & 0xff);
    return bytes;
}

std::string pack_texts(std::span<const std::string> texts) {
    std::string bytes = pack_number(texts.size());
    for (const std::string& text : texts) {
        bytes += pack_number(text.size());
        bytes += text;
    }
    return bytes;
}

std::string_view Unpacker::take(std::uint64_t size) {
    if (size > rest_.size())
        throw Error("sends a message that ends too early");
    const std::string_view part = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return part;
}

std::uint64_t Unpacker::number() {
    return read_number(take(8).data());
}

std::string Unpacker::text() {
    return std::string(take(number()));
}

std::vector<std::string> Unpacker::texts() {
    std::vector<std::string> texts;
    for (std::uint64_t left = number(); left > 0; --left)
        texts.push_back(text());
    return texts;
}

std::string Failure::frame() const {
    return encode(
        {.kind = is_interruption ? FrameKind::interruption : FrameKind::failure, .bytes = text});
}

void Failure::raise() const {
    if (is_interruption)
        throw InterruptedError(text);
    throw Error(text);
}

std::optional<Failure> failure_of(const Frame& frame) {
    if (frame.kind != FrameKind::failure && frame.kind != FrameKind::interruption)
        return std::nullopt;
    return Failure{frame.bytes, frame.kind == FrameKind::interruption};
}

}  // namespace eplb
