#include "tools/output.h"

#include <iostream>

namespace eplb::cli {
namespace {

// at once, so that lines of several processes do not mix
void say(const std::string& line) {
    std::cerr << line + "\n";
}

}  // namespace

Output Output::quiet() const {
    Output output = *this;
    output.is_quiet_ = true;
    return output;
}

void Output::note(const std::string& text) const {
    if (!is_quiet_)
        say(name_ + ": " + text);
}

void Output::warn(const std::string& text) const {
    note("warning: " + text);
}

}  // namespace eplb::cli
