#include "lib/report/views/bootstrap.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "lib/base/not_known.h"
#include "lib/base/random.h"
#include "lib/placement/plan/prediction.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

// Sums over `length` iterations from each start on, and how many values are in them.
class BlockSums {
  public:
    BlockSums(const IterationSeries& series, int num_starts, int length)
        : sizes_({num_starts, series.num_series}),
          sums_(Grid<double, 2>::num_values(sizes_)),
          counts_(sums_.size()) {
        const Grid<double, 2> sums(sums_, sizes_);
        const Grid<double, 2> counts(counts_, sizes_);
        for (int start = 0; start < num_starts; ++start)
            for (int i = start; i < start + length; ++i) {
                const std::span<const double> values = series.grid().row(i);
                for (int s = 0; s < series.num_series; ++s) {
                    if (std::isnan(values[s]))
                        continue;
                    sums(start, s) += values[s];
                    counts(start, s) += 1;
                }
            }
    }

    void add_to(std::vector<double>& sums, std::vector<double>& counts, int start) const {
        const std::span<const double> more = Grid<const double, 2>(sums_, sizes_).row(start);
        const std::span<const double> more_counts =
            Grid<const double, 2>(counts_, sizes_).row(start);
        for (std::size_t s = 0; s < sums.size(); ++s) {
            sums[s] += more[s];
            counts[s] += more_counts[s];
        }
    }

  private:
    std::array<int, 2> sizes_;    // num_starts, num_series
    std::vector<double> sums_;    // [num_starts][num_series]
    std::vector<double> counts_;  // [num_starts][num_series]
};

double normal_distribution(double x) {
    return std::erfc(-x / std::sqrt(2.0)) / 2;
}

}  // namespace

int num_measured(const IterationSeries& series) {
    int count = 0;
    for (int i = 0; i < series.num_iterations; ++i) {
        const std::span<const double> row = series.grid().row(i);
        count +=
            std::any_of(row.begin(), row.end(), [](double value) { return !std::isnan(value); });
    }
    return count;
}

int num_measured(const IterationSeries& series, int index) {
    int count = 0;
    for (int i = 0; i < series.num_iterations; ++i)
        count += !std::isnan(series.grid()(i, index));
    return count;
}

int block_length(int num_iterations) {
    std::int64_t length = 1;
    while (length * length * length < num_iterations)
        ++length;
    return static_cast<int>(length);
}

ResampledMeans resample_means(const IterationSeries& series, std::uint64_t key) {
    const int length = block_length(series.num_iterations);
    const int num_starts = series.num_iterations - length + 1;
    // the last block is cut, so that a resample has as many iterations as there are
    const int num_whole = (series.num_iterations - 1) / length;
    const int last_length = series.num_iterations - num_whole * length;
    const BlockSums whole(series, num_starts, length);
    const BlockSums last(series, num_starts, last_length);

    ResampledMeans result;
    result.num_series = series.num_series;
    result.num_blocks = series.num_iterations / length;
    result.means.reserve(Grid<double, 2>::num_values({kNumResamples, series.num_series}));
    RandomSequence random(key);
    std::vector<double> sums(series.num_series);
    std::vector<double> counts(sums.size());
    for (int resample = 0; resample < kNumResamples; ++resample) {
        std::fill(sums.begin(), sums.end(), 0.0);
        std::fill(counts.begin(), counts.end(), 0.0);
        for (int block = 0; block < num_whole; ++block)
            whole.add_to(sums, counts, random.below(num_starts));
        last.add_to(sums, counts, random.below(num_starts));
        for (std::size_t s = 0; s < sums.size(); ++s)
            result.means.push_back(counts[s] > 0 ? sums[s] / counts[s] : kNotKnown);
    }
    return result;
}

Interval percentile_interval(std::vector<double> values, int num_blocks) {
    assert(num_blocks >= 2);
    std::erase_if(values, [](double value) { return std::isnan(value); });
    if (values.empty())
        return {kNotKnown, kNotKnown};
    const double k = num_blocks;
    const double tail = normal_distribution(-std::sqrt(k / (k - 1)) *
                                            student_t(static_cast<std::size_t>(num_blocks - 1)));
    std::sort(values.begin(), values.end());
    return {percentile(values, 100 * tail), percentile(values, 100 * (1 - tail))};
}

}  // namespace eplb
