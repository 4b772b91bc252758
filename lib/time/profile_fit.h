#ifndef EPLB_TIME_PROFILE_FIT_H
#define EPLB_TIME_PROFILE_FIT_H

#include <span>
#include <string>
#include <vector>

#include "lib/time/layer_cost.h"

namespace eplb {

// One MoE layer on one rank.
struct Measurement {
    std::vector<double> rows;  // of each expert on the rank, 0 or more
    double time_us = 0;        // above 0
    long line = 0;             // of its table
};

// What comes near all of them, and how near. An error is (model - measured) / measured.
struct CostFit {
    LayerCost cost;
    double rms = 0;              // of the errors
    std::vector<double> errors;  // [measurements]
    int num_above_knee = 0;  // measurements with an expert whose rows take longer than its weights
};

// The cost with the least sum of squared errors, launch_us 0 or more. For a given knee the other
// two numbers follow from linear least squares (variable projection: Golub and Pereyra 1973), so
// that the search is over one number: a grid over all knees that could be, and golden sections
// around its minima.
//
// Error, which starts with `name` and says what to measure: fewer than four measurements, or such
// as leave one of the three numbers open.
CostFit fit_cost(std::span<const Measurement> measurements, const std::string& name);

// The rates that give this cost for experts of this shape, with fit_rms. Error, which starts with
// `name`: rates that no GPU comes near, as where times are in another unit.
TimeProfile profile_of(const CostFit& fit, const ExpertWork& work, const std::string& name);

}  // namespace eplb

#endif
