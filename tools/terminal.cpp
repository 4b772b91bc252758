#include "tools/terminal.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace eplb::cli {

std::string formatted(const char* format, double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, value);
    return buffer;
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
