#ifndef EPLB_TIME_TIME_PROFILE_H
#define EPLB_TIME_TIME_PROFILE_H

#include <optional>
#include <string>
#include <vector>

namespace eplb {

// What a GPU and a kernel make of an MoE layer's experts: three numbers, fitted to measurements
// (profile_fit.h). The two rates carry over to experts of other shapes, the second only to weights
// of the same type.
struct TimeProfile {
    std::string name;    // "h200"
    std::string dtype;   // of the arithmetic: "fp8"; empty: not known
    std::string kernel;  // what was measured; empty: not known
    std::string table;   // what the numbers were fitted to; empty: not known

    double t0_us = 0;             // launches, each layer; 0 or more
    double bytes_per_second = 0;  // at which weights are read
    double flop_per_second = 0;   // a product and a sum are two

    // Root mean square of (model - measured) / measured over the table.
    std::optional<double> fit_rms;

    bool operator==(const TimeProfile&) const = default;
};

// What no GPU comes near: beyond, a unit was mistaken.
constexpr double kMostT0 = 1e5;                                 // us
constexpr double kLeastBandwidth = 1e9, kMostBandwidth = 1e15;  // bytes / s
constexpr double kLeastRate = 1e9, kMostRate = 1e18;            // FLOP / s

// Of published measurements; scripts/fit_time_profiles.py fits them, docs/time.md has their errors.
const std::vector<TimeProfile>& built_in_profiles();

}  // namespace eplb

#endif
