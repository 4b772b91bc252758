#ifndef EPLB_BASE_TEXT_H
#define EPLB_BASE_TEXT_H

#include <string>
#include <type_traits>

// Numbers and lists in sentences.
namespace eplb {

// printf's format of one number.
std::string formatted(const char* format, double value);

// fixed(1.5, 3) is "1.500"; NaN is "unknown".
std::string fixed(double value, int decimals);

std::string capitalized(std::string text);
// A fragment as a sentence: a capital at its beginning, a full stop at its end.
std::string sentence(std::string text);

// Of things: "1 layer", "3 layers".
std::string counted(int count, const std::string& singular);

// Integers or strings, with the separator between them.
template <typename List>
std::string joined(const List& list, const char* separator) {
    std::string text;
    bool is_first = true;
    for (const auto& item : list) {
        if (!is_first)
            text += separator;
        is_first = false;
        if constexpr (std::is_integral_v<std::decay_t<decltype(item)>>)
            text += std::to_string(item);
        else
            text += item;
    }
    return text;
}

}  // namespace eplb

#endif
