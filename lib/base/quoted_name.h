#ifndef EPLB_BASE_QUOTED_NAME_H
#define EPLB_BASE_QUOTED_NAME_H

#include <string>
#include <string_view>

namespace eplb {

// A name out of a file, made fit for a terminal: anything but printable ASCII becomes '?', and what
// is long is cut.
inline std::string printable_name(std::string_view text) {
    constexpr std::size_t kMaxShown = 80;
    std::string shown;
    for (const char letter : text.substr(0, kMaxShown))
        shown += letter >= ' ' && letter <= '~' ? letter : '?';
    return shown + (text.size() > kMaxShown ? "..." : "");
}

inline std::string quoted_name(std::string_view text) {
    return '"' + printable_name(text) + '"';
}

}  // namespace eplb

#endif
