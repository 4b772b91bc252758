#ifndef EPLB_TOOLS_TYPED_VALUES_H
#define EPLB_TOOLS_TYPED_VALUES_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/statistics/selection.h"

// Numbers and lists as they are typed.
namespace eplb::cli {

// Beyond this many of anything only a slip of the hand goes.
constexpr std::int64_t kMaxNumber = 1 << 20;

// Weights and speeds, in any unit: beyond these is a slip, and sums of them would overflow.
constexpr double kLeastReal = 1e-6;
constexpr double kMostReal = 1e6;

// The parts between commas, at least one; a comma at the end is no mistake.
std::vector<std::string> split(const std::string& text);

// Nothing where the text is no finite number.
std::optional<double> parse_real(const std::string& text);

// "3,10-20" -> {3, 10, 11, …, 20}; throws UsageError naming `option`.
std::vector<int> parse_layer_list(const std::string& text, const std::string& option);

// "100-200", by the rules of upstream's EXPERT_STATISTIC_ITER_RANGE and with start < stop; throws
// UsageError naming `origin`.
IterationRange parse_iteration_range(const std::string& text, const std::string& origin);

// Numbers from 1 to kMaxNumber, separated by commas; throws UsageError naming `option`.
std::vector<int> parse_numbers(const std::string& text, const std::string& option);
// Likewise, each from kLeastReal to kMostReal.
std::vector<double> parse_positive_reals(const std::string& text, const std::string& option);

}  // namespace eplb::cli

#endif
