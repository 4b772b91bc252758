#ifndef EPLB_BASE_SUM_H
#define EPLB_BASE_SUM_H

#include <cmath>
#include <numeric>
#include <span>

#include "lib/base/not_known.h"

namespace eplb {

// In order, so that the rounding is the same everywhere.
inline double sum_of(std::span<const double> values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

// Mean without the NaNs; NaN where there is nothing else.
inline double mean_of(std::span<const double> values) {
    double sum = 0;
    int count = 0;
    for (const double value : values)
        if (!std::isnan(value)) {
            sum += value;
            ++count;
        }
    return count > 0 ? sum / count : kNotKnown;
}

}  // namespace eplb

#endif
