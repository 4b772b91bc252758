#include "lib/report/text/picture_text.h"

#include <algorithm>
#include <cmath>

namespace eplb {

std::string trimmed(double value, int decimals) {
    std::string text = fixed(value, decimals);
    if (text.find('.') == std::string::npos)
        return text;
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.')
        text.pop_back();
    return text;
}

std::string short_number(double value) {
    if (std::isnan(value))
        return "-";
    if (value == 0)
        return "0";
    constexpr int kDigits = 3;
    constexpr int kMostDecimals = 4;
    // rounded first, for 0.9996 is 1.00
    const double size = std::abs(value);
    const int magnitude = static_cast<int>(std::floor(std::log10(size)));
    const double unit = std::pow(10.0, magnitude - kDigits + 1);
    const double rounded = std::round(size / unit) * unit;
    const int digits_before = static_cast<int>(std::floor(std::log10(rounded) + 1e-9)) + 1;
    return fixed(value, std::clamp(kDigits - digits_before, 0, kMostDecimals));
}

std::string tokens_text(double tokens) {
    return fixed(tokens, tokens == std::round(tokens) ? 0 : 1);
}

std::string ranges_text(const std::vector<int>& numbers) {
    std::string text;
    for (std::size_t i = 0; i < numbers.size();) {
        std::size_t last = i;
        while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1)
            ++last;
        text += (text.empty() ? "" : ", ") + std::to_string(numbers[i]);
        if (last > i)
            text += "-" + std::to_string(numbers[last]);
        i = last + 1;
    }
    return text;
}

std::string one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(),
        [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, ' ');
    return text;
}

std::string pad_left(const std::string& text, std::size_t width) {
    return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string pad_right(const std::string& text, std::size_t width) {
    return text + std::string(width - std::min(width, text.size()), ' ');
}

double axis_step(double largest, int most_steps) {
    if (largest <= 0)
        return 0.5;
    const double power = std::pow(10.0, std::floor(std::log10(largest / most_steps)));
    for (const double factor : {1.0, 2.0, 2.5, 5.0})
        if (factor * power * most_steps >= largest)
            return factor * power;
    return 10 * power;
}

}  // namespace eplb
