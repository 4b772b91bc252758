#include "lib/base/text.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace eplb {
namespace {

constexpr std::size_t kLongest = 400;  // the largest double has 309 digits before the point

}  // namespace

std::string formatted(const char* format, double value) {
    std::array<char, kLongest> text;
    const int length = std::snprintf(text.data(), text.size(), format, value);
    return {text.data(), static_cast<std::size_t>(length)};
}

std::string fixed(double value, int decimals) {
    if (std::isnan(value))
        return "unknown";
    std::array<char, kLongest> digits;
    const int length = std::snprintf(digits.data(), digits.size(), "%.*f", decimals, value);
    const std::string text(digits.data(), static_cast<std::size_t>(length));
    const bool is_zero = text.find_first_not_of("-0.") == std::string::npos;
    return is_zero && text.front() == '-' ? text.substr(1) : text;
}

std::string capitalized(std::string text) {
    if (!text.empty() && text.front() >= 'a' && text.front() <= 'z')
        text.front() = static_cast<char>(text.front() - 'a' + 'A');
    return text;
}

std::string sentence(std::string text) {
    return capitalized(std::move(text)) + ".";
}

std::string counted(int count, const std::string& singular) {
    return std::to_string(count) + " " + singular + (count == 1 ? "" : "s");
}

}  // namespace eplb
