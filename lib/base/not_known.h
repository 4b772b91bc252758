#ifndef EPLB_BASE_NOT_KNOWN_H
#define EPLB_BASE_NOT_KNOWN_H

#include <limits>

namespace eplb {

// A figure that nothing was measured for.
constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();

}  // namespace eplb

#endif
