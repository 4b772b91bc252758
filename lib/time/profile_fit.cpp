#include "lib/time/profile_fit.h"

#include <cmath>
#include <limits>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/text.h"

namespace eplb {
namespace {

constexpr std::size_t kLeastMeasurements = 4;  // three numbers, and one to see how they fit

// The best two numbers for a knee.
struct LinearFit {
    double launch_us = 0;
    double read_us = 0;
    double squares = std::numeric_limits<double>::infinity();  // of relative errors
    bool is_open = false;  // launch_us cannot be told from read_us
};

// Readings of weights that take as long as the rows of a measurement.
double readings(const Measurement& measurement, double knee) {
    double sum = 0;
    for (const double rows : measurement.rows)
        sum += std::max(std::min(rows, 1.0), rows / knee);
    return sum;
}

LinearFit fit_at(std::span<const Measurement> measurements, double knee) {
    // least squares of launch_us * a + read_us * b against 1, a = 1 / T, b = readings / T
    double aa = 0;
    double ab = 0;
    double bb = 0;
    double a1 = 0;
    double b1 = 0;
    std::vector<double> numbers;
    for (const Measurement& measurement : measurements) {
        const double a = 1 / measurement.time_us;
        const double b = readings(measurement, knee) * a;
        aa += a * a;
        ab += a * b;
        bb += b * b;
        a1 += a;
        b1 += b;
        numbers.push_back(b);
    }
    LinearFit fit;
    constexpr double kSingular = 1e-9;
    const double determinant = aa * bb - ab * ab;
    fit.is_open = !(determinant > kSingular * aa * bb);
    if (!fit.is_open)
        fit.launch_us = (a1 * bb - b1 * ab) / determinant;
    // no launch takes less than no time; then readings explain what they can
    fit.launch_us = std::max(fit.launch_us, 0.0);
    fit.read_us = bb > 0 ? (b1 - fit.launch_us * ab) / bb : 0;
    if (fit.read_us <= 0) {  // times that fall where loads grow: the launch explains what it can
        fit.read_us = 0;
        fit.launch_us = a1 / aa;
    }
    fit.squares = 0;
    for (std::size_t i = 0; i < measurements.size(); ++i) {
        const double error = fit.launch_us / measurements[i].time_us + fit.read_us * numbers[i] - 1;
        fit.squares += error * error;
    }
    return fit;
}

// The knee with the least squares between two, logarithms, by golden sections.
double refine(std::span<const Measurement> measurements, double low, double high) {
    const double golden = (std::sqrt(5.0) - 1) / 2;
    constexpr int kSections = 60;  // 0.618^60: beyond what doubles tell apart
    const auto squares = [&](double log_knee) {
        return fit_at(measurements, std::exp(log_knee)).squares;
    };
    double left = high - golden * (high - low);
    double right = low + golden * (high - low);
    double at_left = squares(left);
    double at_right = squares(right);
    for (int i = 0; i < kSections; ++i) {
        if (at_left <= at_right) {
            high = right;
            right = left;
            at_right = at_left;
            left = high - golden * (high - low);
            at_left = squares(left);
        } else {
            low = left;
            left = right;
            at_left = at_right;
            right = low + golden * (high - low);
            at_right = squares(right);
        }
    }
    return (low + high) / 2;
}

struct Range {
    double least = std::numeric_limits<double>::infinity();
    double most = 0;
};

// Of the rows that experts have.
Range range_of_rows(std::span<const Measurement> measurements) {
    Range range;
    for (const Measurement& measurement : measurements)
        for (const double rows : measurement.rows)
            if (rows > 0) {
                range.least = std::min(range.least, std::max(rows, 1.0));
                range.most = std::max(range.most, rows);
            }
    return range;
}

double best_knee(std::span<const Measurement> measurements, const Range& range) {
    constexpr int kGrid = 400;
    const double low = std::log(range.least);
    const double step = (std::log(range.most) - low) / kGrid;
    std::vector<double> squares;
    for (int i = 0; i <= kGrid; ++i)
        squares.push_back(fit_at(measurements, std::exp(low + i * step)).squares);
    double best = low;
    double least = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= kGrid; ++i) {
        const bool is_minimum = (i == 0 || squares[i] <= squares[i - 1]) &&
                                (i == kGrid || squares[i] <= squares[i + 1]);
        if (!is_minimum)
            continue;
        const double knee = refine(measurements, low + std::max(i - 1, 0) * step,
                                   low + std::min(i + 1, kGrid) * step);
        const double at_knee = fit_at(measurements, std::exp(knee)).squares;
        if (at_knee < least) {
            least = at_knee;
            best = knee;
        }
    }
    return std::exp(best);
}

// As good a fit, but for rounding.
bool is_as_good(double squares, double best, std::size_t count) {
    return squares <= best * (1 + 1e-9) + 1e-20 * static_cast<double>(count);
}

}  // namespace

CostFit fit_cost(std::span<const Measurement> measurements, const std::string& name) {
    if (measurements.size() < kLeastMeasurements)
        throw Error(
            name + ": has " + counted(static_cast<int>(measurements.size()), "measurement") +
            "; a fit needs " + std::to_string(kLeastMeasurements) + " or more, better fifty");
    const Range range = range_of_rows(measurements);
    if (range.most == 0)
        throw Error(name + ": no expert has any rows; measure layers that compute");
    const double knee = best_knee(measurements, range);
    const LinearFit best = fit_at(measurements, knee);
    if (best.read_us == 0)
        throw Error(
            name +
            ": times do not grow with experts or their rows; see to the columns and to what "
            "was measured");
    const auto is_open_at = [&](double end) {
        return is_as_good(fit_at(measurements, end).squares, best.squares, measurements.size());
    };
    if (is_open_at(range.most))
        throw Error(name +
                    ": no measurement tells what a row costs: none has an expert whose rows take "
                    "longer than its weights; measure more rows for each expert than " +
                    formatted("%.6g", range.most));
    if (is_open_at(range.least))
        throw Error(name +
                    ": no measurement tells what reading an expert's weights takes: in all of them "
                    "rows take longer; measure fewer rows for each expert than " +
                    formatted("%.6g", range.least));
    if (best.is_open)
        throw Error(name +
                    ": all measurements are multiples of one load, which does not tell the launch "
                    "from the experts; measure other numbers of experts on a rank");
    CostFit fit;
    fit.cost = {best.launch_us, best.read_us, best.read_us / knee};
    for (const Measurement& measurement : measurements) {
        fit.errors.push_back(rank_time(fit.cost, measurement.rows).time_us / measurement.time_us -
                             1);
        fit.num_above_knee += std::any_of(measurement.rows.begin(), measurement.rows.end(),
                                          [&](double rows) { return rows > knee; });
    }
    fit.rms = std::sqrt(best.squares / static_cast<double>(measurements.size()));
    return fit;
}

TimeProfile profile_of(const CostFit& fit, const ExpertWork& work, const std::string& name) {
    constexpr double kMicro = 1e-6;
    TimeProfile profile;
    profile.t0_us = fit.cost.launch_us;
    profile.bytes_per_second = work.bytes / (fit.cost.read_us * kMicro);
    profile.flop_per_second = work.flop_per_row / (fit.cost.row_us * kMicro);
    profile.fit_rms = fit.rms;
    if (!(profile.t0_us <= kMostT0 && profile.bytes_per_second >= kLeastBandwidth &&
          profile.bytes_per_second <= kMostBandwidth && profile.flop_per_second >= kLeastRate &&
          profile.flop_per_second <= kMostRate))
        throw Error(name + ": comes to " + formatted("%.3g", profile.bytes_per_second) +
                    " bytes and " + formatted("%.3g", profile.flop_per_second) +
                    " operations per second, which no GPU has; times must be in microseconds, and "
                    "the expert's shape that of what was measured");
    return profile;
}

}  // namespace eplb
