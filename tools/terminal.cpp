#include "tools/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <iostream>

namespace eplb::cli {
namespace {

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

// The first that is set decides, as in POSIX.
bool has_utf8_locale() {
    for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
        std::string locale = environment(name);
        if (locale.empty())
            continue;
        std::transform(locale.begin(), locale.end(), locale.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        return locale.find("utf-8") != std::string::npos ||
               locale.find("utf8") != std::string::npos;
    }
    return false;
}

int screen_width(bool is_terminal) {
    constexpr int kDefault = 80;
    constexpr int kMost = 100000;
    winsize window{};
    if (is_terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        return window.ws_col;
    const std::string columns = environment("COLUMNS");
    int width = 0;
    const char* const end = columns.data() + columns.size();
    const auto [rest, error] = std::from_chars(columns.data(), end, width);
    return error == std::errc() && rest == end && width > 0 ? std::min(width, kMost) : kDefault;
}

}  // namespace

Screen screen_of_output(const std::string& output_path) {
    const bool is_terminal = output_path == "-" && ::isatty(STDOUT_FILENO) != 0;
    return {.width = screen_width(is_terminal),
            .unicode = has_utf8_locale(),
            .colour = is_terminal && environment("NO_COLOR").empty() &&
                      !environment("TERM").empty() && environment("TERM") != "dumb"};
}

ProgressLine::ProgressLine(bool wanted) {
    const char* const term = std::getenv("TERM");
    on_terminal_ =
        wanted && ::isatty(STDERR_FILENO) != 0 && term != nullptr && std::string(term) != "dumb";
}

void ProgressLine::show(const std::string& text) {
    if (!on_terminal_)
        return;
    std::cerr << '\r' << text << "\x1b[K" << std::flush;
    has_text_ = true;
}

void ProgressLine::clear() {
    if (has_text_)
        std::cerr << "\r\x1b[K" << std::flush;
    has_text_ = false;
}

}  // namespace eplb::cli
