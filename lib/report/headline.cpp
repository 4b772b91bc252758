#include "lib/report/headline.h"

#include <cmath>
#include <cstddef>
#include <optional>

#include "lib/report/picture_text.h"

namespace eplb {
namespace {

constexpr std::size_t kDigits = 3;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// How long the fraction is that starts at `start` ("-12.34"); 0 where none does, or where it is
// part of a word ("v1.2.yaml").
std::size_t fraction_length(const std::string& text, std::size_t start) {
    if (start > 0 && text[start - 1] != ' ' && text[start - 1] != '(')
        return 0;
    std::size_t at = start + (text[start] == '-' ? 1 : 0);
    const auto skip_digits = [&] {
        const std::size_t first = at;
        while (at < text.size() && is_digit(text[at]))
            ++at;
        return at > first;
    };
    if (!skip_digits() || at == text.size() || text[at++] != '.' || !skip_digits())
        return 0;
    const std::size_t after = text.find_first_not_of(".,;:)", at);
    const bool is_word = after != std::string::npos && text[after] != ' ';
    return is_word ? 0 : at - start;
}

std::size_t digits_that_count(const std::string& number) {
    const std::size_t first = number.find_first_not_of("-0.");
    std::size_t count = 0;
    for (std::size_t i = first; i < number.size(); ++i)
        count += is_digit(number[i]) ? 1 : 0;
    return count;
}

// The number of the table that is written like this.
std::optional<double> exact(const std::string& number, const Table& table) {
    const int decimals = static_cast<int>(number.size() - number.find('.') - 1);
    std::optional<double> found;
    const auto look_at = [&](const Cell& cell) {
        const double* const value = std::get_if<double>(&cell);
        if (!found && value != nullptr && std::isfinite(*value) &&
            fixed(*value, decimals) == number)
            found = *value;
    };
    for (const Cell& cell : table.average)
        look_at(cell);
    for (const auto& [key, cell] : table.context)
        look_at(cell);
    for (const std::vector<Cell>& row : table.rows)
        for (const Cell& cell : row)
            look_at(cell);
    return found;
}

}  // namespace

std::string headline(const std::string& note, const Table& table) {
    std::string text;
    for (std::size_t at = 0; at < note.size();) {
        const std::size_t length = fraction_length(note, at);
        const std::string number = note.substr(at, length);
        if (length == 0)
            text += note[at];
        else if (digits_that_count(number) <= kDigits)
            text += number;
        else
            text += short_number(exact(number, table).value_or(std::stod(number)));
        at += length == 0 ? 1 : length;
    }
    return text;
}

}  // namespace eplb
