#include <array>
#include <cstdint>
#include <string_view>

#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

constexpr const char* kReplacement = "\xef\xbf\xbd";  // U+FFFD

// Bytes of the UTF-8 character that `text` starts with; 0 where it is none, or one that XML
// forbids.
std::size_t character_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80)
        return first >= ' ' || first == '\t' || first == '\n' ? 1 : 0;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length)
        return 0;
    std::uint32_t character = first & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if (byte(i) >> 6 != 2)
            return 0;
        character = (character << 6) | (byte(i) & 0x3fU);
    }
    constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_overlong = character < kSmallest[length];
    const bool is_surrogate = character >= 0xd800 && character < 0xe000;
    const bool is_forbidden = character == 0xfffe || character == 0xffff || character > 0x10ffff;
    const bool is_control = character < 0xa0;
    return is_overlong || is_surrogate || is_forbidden || is_control ? 0 : length;
}

}  // namespace

std::string escape(const std::string& text) {
    std::string escaped;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = character_length(std::string_view(text).substr(i));
        const std::string_view character = std::string_view(text).substr(i, length);
        if (length == 0)
            escaped += kReplacement;
        else if (character == "&")
            escaped += "&amp;";
        else if (character == "<")
            escaped += "&lt;";
        else if (character == ">")
            escaped += "&gt;";
        else if (character == "\"")
            escaped += "&quot;";
        else if (character == "'")
            escaped += "&#39;";
        else
            escaped += character;
        i += length == 0 ? 1 : length;
    }
    return escaped;
}

std::string prose(const std::string& text) {
    const std::string arrow = " -> ";
    std::string result;
    std::size_t at = 0;
    for (std::size_t next = text.find(arrow); next != std::string::npos;
         next = text.find(arrow, at)) {
        result += text.substr(at, next - at) + " → ";
        at = next + arrow.size();
    }
    return escape(result + text.substr(at));
}

std::string label(const Drawn& drawn) {
    std::string text;
    append(text, "<b class=\"number\">", drawn.number, "</b> <span title=\"",
           escape(drawn.subject().name), "\">", escape(drawn.short_name), "</span>");
    return text;
}

std::string percent(double part) {
    return trimmed(100 * part, 3) + "%";
}

}  // namespace eplb::html
