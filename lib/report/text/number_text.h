#ifndef EPLB_REPORT_TEXT_NUMBER_TEXT_H
#define EPLB_REPORT_TEXT_NUMBER_TEXT_H

#include <string>

namespace eplb {

// Numbers in sentences: fixed(1.5, 3) is "1.500"; NaN is "unknown".
std::string fixed(double value, int decimals);

// A fragment as a sentence: a capital at its beginning, a full stop at its end.
std::string sentence(std::string text);

// Of things: "1 layer", "3 layers".
std::string counted(int count, const std::string& singular);

}  // namespace eplb

#endif
