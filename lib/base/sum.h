#ifndef EPLB_BASE_SUM_H
#define EPLB_BASE_SUM_H

#include <numeric>
#include <span>

namespace eplb {

// In order, so that the rounding is the same everywhere.
inline double sum_of(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace eplb

#endif
