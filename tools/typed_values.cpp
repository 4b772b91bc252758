#include "tools/typed_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "lib/base/error.h"

namespace eplb::cli {
namespace {

std::string strip(const std::string& text) {
    constexpr const char* kSpace = " \t\n\r\f\v";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string::npos)
        return "";
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// a number as Python's int() reads it, but for a minus sign: that separates the range
std::optional<std::int64_t> parse_python_int(std::string text) {
    text = strip(text);
    if (!text.empty() && text.front() == '+')
        text.erase(0, 1);
    std::string digits;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_')
            digits += text[i];
        else if (i == 0 || i + 1 == text.size() || text[i - 1] == '_')
            return std::nullopt;
    }
    std::int64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, value);
    if (digits.empty() || digits.front() == '-' || error != std::errc() || rest != end)
        return std::nullopt;
    return value;
}

// Adds "3" or "10-20".
void add_layers(std::vector<int>& layers, const std::string& part, const std::string& option) {
    const std::size_t dash = part.find('-');
    const auto first = parse_python_int(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_python_int(part.substr(dash + 1));
    if (!first || !last)
        throw UsageError(option + ": '" + part + "' is neither a layer nor a range; write 3,10-20");
    if (*last > kMaxNumber)
        throw UsageError(option + ": layer " + std::to_string(*last) + " is beyond " +
                         std::to_string(kMaxNumber));
    if (*last < *first)
        throw UsageError(option + ": the range " + part + " is empty");
    for (auto layer = static_cast<int>(*first); layer <= *last; ++layer)
        layers.push_back(layer);
}

// the numbers of a list, each by `parse`, which gives nothing for what is none
template <typename Number, typename Parse>
std::vector<Number> parse_list(const std::string& text, const Parse& parse) {
    std::vector<Number> numbers;
    for (const std::string& part : split(text))
        numbers.push_back(parse(strip(part)));
    return numbers;
}

}  // namespace

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream rest(text);
    for (std::string part; std::getline(rest, part, ',');)
        parts.push_back(part);
    if (parts.empty())
        parts.emplace_back();
    return parts;
}

std::optional<double> parse_real(const std::string& text) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || error != std::errc() || rest != end || !std::isfinite(value))
        return std::nullopt;
    return value;
}

std::vector<int> parse_layer_list(const std::string& text, const std::string& option) {
    std::vector<int> layers;
    for (const std::string& part : split(text))
        add_layers(layers, part, option);
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    return layers;
}

IterationRange parse_iteration_range(const std::string& text, const std::string& origin) {
    const std::size_t dash = text.find('-');
    if (dash != std::string::npos && text.find('-', dash + 1) == std::string::npos) {
        const auto start = parse_python_int(text.substr(0, dash));
        const auto stop = parse_python_int(text.substr(dash + 1));
        if (start && stop) {
            if (*start >= *stop)
                throw UsageError(origin + ": the range " + strip(text) +
                                 " is empty; the first number must be below the second");
            return {*start, *stop};
        }
    }
    throw UsageError(origin + ": '" + text +
                     "' is not a range of iterations; write 100-200 for iterations 100 to 199");
}

std::vector<int> parse_numbers(const std::string& text, const std::string& option) {
    return parse_list<int>(text, [&](const std::string& part) {
        const std::optional<std::int64_t> value = parse_python_int(part);
        if (!value || *value < 1 || *value > kMaxNumber)
            throw UsageError(option + ": '" + part + "' is not an integer in [1, " +
                             std::to_string(kMaxNumber) + "]");
        return static_cast<int>(*value);
    });
}

std::vector<double> parse_positive_reals(const std::string& text, const std::string& option) {
    return parse_list<double>(text, [&](const std::string& part) {
        const std::optional<double> value = parse_real(part);
        if (!value || *value < kLeastReal || *value > kMostReal)
            throw UsageError(option + ": '" + part + "' is not a number in [1e-6, 1e6]");
        return *value;
    });
}

}  // namespace eplb::cli
