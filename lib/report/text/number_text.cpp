#include "lib/report/text/number_text.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace eplb {

std::string fixed(double value, int decimals) {
    if (std::isnan(value))
        return "unknown";
    std::array<char, 400> text;  // the largest double has 309 digits before the point
    const int length = std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
    const std::string result(text.data(), static_cast<std::size_t>(length));
    const bool is_zero = result.find_first_not_of("-0.") == std::string::npos;
    return is_zero && result.front() == '-' ? result.substr(1) : result;
}

std::string sentence(std::string text) {
    if (!text.empty() && text.front() >= 'a' && text.front() <= 'z')
        text.front() = static_cast<char>(text.front() - 'a' + 'A');
    return text + ".";
}

std::string counted(int count, const std::string& singular) {
    return std::to_string(count) + " " + singular + (count == 1 ? "" : "s");
}

}  // namespace eplb
