#ifndef EPLB_TESTS_FUZZ_FUZZ_TARGET_H
#define EPLB_TESTS_FUZZ_FUZZ_TARGET_H

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace eplb::fuzz {

// Feeds a reader with bytes; aborts where it does other than read them or throw an Error.
using Feed = void (*)(std::string_view input);

// By name. A target enters itself, so that a program has those whose files it is linked from: the
// corpus program all, a libFuzzer program one.
inline std::map<std::string, Feed>& targets() {
    static std::map<std::string, Feed> table;
    return table;
}

struct Target {
    Target(const char* name, Feed feed) { targets()[name] = feed; }
};

inline std::span<const std::byte> bytes_of(std::string_view input) {
    return std::as_bytes(std::span(input.data(), input.size()));
}

}  // namespace eplb::fuzz

#endif
