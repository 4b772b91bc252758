#include "lib/report/views/heat.h"

#include <algorithm>

#include "lib/base/text.h"

namespace eplb {

int heat_level(double relative, int num_levels) {
    // a load that equals the mean but for rounding belongs above the line between two levels
    constexpr double kRounding = 1e-9;
    const double part = relative / kHottest * num_levels + kRounding;
    return static_cast<int>(std::clamp(part, 0.0, num_levels - 1.0));
}

std::string ratio_text(const MeasuredSubject& subject, const LoadSummary& summary) {
    if (summary.num_iterations == 0)
        return "no tokens";
    return fixed(summary.imbalance_ratio, subject.worst()->summary.imbalance_ratio < 1 ? 3 : 2);
}

}  // namespace eplb
