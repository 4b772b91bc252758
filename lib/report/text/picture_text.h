#ifndef EPLB_REPORT_TEXT_PICTURE_TEXT_H
#define EPLB_REPORT_TEXT_PICTURE_TEXT_H

#include <string>
#include <vector>

#include "lib/base/text.h"

// Short texts in pictures.
namespace eplb {

// fixed() without zeros at the end: 0.25, 1.5, 2.
std::string trimmed(double value, int decimals);

// Three digits that count, at most four decimals: 12.3, 1.51, 0.105, 0.0351; whole from 1000 on.
std::string short_number(double value);

// Whole where it is, else one decimal, as shares of tokens are: 3544, 886.3.
std::string tokens_text(double tokens);

// "3-60", "3, 10-20"; of ascending numbers.
std::string ranges_text(const std::vector<int>& numbers);

// Control characters become spaces.
std::string one_line(std::string text);

std::string pad_left(const std::string& text, std::size_t width);
std::string pad_right(const std::string& text, std::size_t width);

// What an axis from 0 to `largest` is divided by: 1, 2, 2.5 or 5 times a power of ten, so that it
// has at most `most_steps` of them. 0.5 where largest is 0.
double axis_step(double largest, int most_steps);

}  // namespace eplb

#endif
