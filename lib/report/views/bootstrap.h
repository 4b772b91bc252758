#ifndef EPLB_REPORT_VIEWS_BOOTSTRAP_H
#define EPLB_REPORT_VIEWS_BOOTSTRAP_H

#include <cstdint>
#include <vector>

#include "lib/base/grid.h"

// How sure a mean over iterations is, by the moving-block bootstrap (Kuensch 1989): iterations are
// drawn again and again in blocks of neighbours, because neighbours are alike.
namespace eplb {

// Values of several quantities (of layers) in each iteration.
struct IterationSeries {
    int num_iterations = 0;
    int num_series = 0;
    std::vector<double> values;  // [num_iterations][num_series]; NaN: no tokens

    Grid<const double, 2> grid() const { return {values, {num_iterations, num_series}}; }
};

// Iterations in which any quantity has a value.
int num_measured(const IterationSeries& series);

// Iterations in which this one has a value.
int num_measured(const IterationSeries& series, int index);

// Below so many iterations there are no intervals: a mean of fewer tells too little of its error.
constexpr int kLeastIterations = 8;

// The least l with l^3 >= num_iterations: the optimal length grows so with the cube root, and the
// constant 1 is right where neighbours correlate by about 0.4.
int block_length(int num_iterations);

constexpr int kNumResamples = 2000;

struct ResampledMeans {
    int num_series = 0;
    int num_blocks = 0;         // whole ones in the data
    std::vector<double> means;  // [kNumResamples][num_series]; NaN where nothing drawn had a value

    double mean(int resample, int series) const {
        return Grid<const double, 2>(means, {kNumResamples, num_series})(resample, series);
    }
};

// All quantities of one resample are of the same iterations. Two series of as many iterations and
// the same key draw the same ones: they are paired. num_iterations >= 1.
ResampledMeans resample_means(const IterationSeries& series, std::uint64_t key);

struct Interval {
    double low = 0;
    double high = 0;

    bool contains(double value) const { return low <= value && value <= high; }
};

// Where a figure lies with 95 % certainty, from what the resamples gave for it. Percentiles, which
// are moved outwards as Student's t asks for with so few blocks (Hesterberg, "What Teachers Should
// Know About the Bootstrap", 2015, section 4.3): with k blocks at Phi(-sqrt(k / (k - 1)) t), where
// t is the 97.5 % quantile with k - 1 degrees of freedom. Plain percentiles are too narrow: of 20
// independent iterations they cover 89 %. Linear between order statistics, as numpy.percentile; NaN
// values are left out, and without any the limits are NaN. num_blocks >= 2.
Interval percentile_interval(std::vector<double> values, int num_blocks);

}  // namespace eplb

#endif
