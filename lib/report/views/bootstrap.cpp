#include "lib/report/views/bootstrap.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "lib/base/random.h"
#include "lib/placement/plan/prediction.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

// Sums over `length` iterations from each start on, and how many values are in them.
class BlockSums {
  public:
    BlockSums(const IterationSeries& series, int num_starts, int length)
        : num_series_(static_cast<std::size_t>(series.num_series)),
          sums_(static_cast<std::size_t>(num_starts) * num_series_),
          counts_(sums_.size()) {
        for (std::size_t start = 0; start < static_cast<std::size_t>(num_starts); ++start)
            for (std::size_t i = start; i < start + static_cast<std::size_t>(length); ++i)
                for (std::size_t s = 0; s < num_series_; ++s) {
                    const double value = series.values[i * num_series_ + s];
                    if (std::isnan(value))
                        continue;
                    sums_[start * num_series_ + s] += value;
                    counts_[start * num_series_ + s] += 1;
                }
    }

    void add_to(std::vector<double>& sums, std::vector<double>& counts, int start) const {
        const std::size_t offset = static_cast<std::size_t>(start) * num_series_;
        for (std::size_t s = 0; s < num_series_; ++s) {
            sums[s] += sums_[offset + s];
            counts[s] += counts_[offset + s];
        }
    }

  private:
    std::size_t num_series_;
    std::vector<double> sums_;    // [num_starts][num_series]
    std::vector<double> counts_;  // [num_starts][num_series]
};

double normal_distribution(double x) {
    return std::erfc(-x / std::sqrt(2.0)) / 2;
}

}  // namespace

int num_measured(const IterationSeries& series) {
    int count = 0;
    const auto size = static_cast<std::ptrdiff_t>(series.num_series);
    for (int i = 0; i < series.num_iterations; ++i) {
        const auto begin = series.values.begin() + i * size;
        count += std::any_of(begin, begin + size, [](double value) { return !std::isnan(value); });
    }
    return count;
}

int num_measured(const IterationSeries& series, int index) {
    int count = 0;
    for (int i = 0; i < series.num_iterations; ++i)
        count += !std::isnan(series.values[static_cast<std::size_t>(i) *
                                               static_cast<std::size_t>(series.num_series) +
                                           static_cast<std::size_t>(index)]);
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
    result.means.reserve(static_cast<std::size_t>(kNumResamples) *
                         static_cast<std::size_t>(series.num_series));
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
            result.means.push_back(counts[s] > 0 ? sums[s] / counts[s]
                                                 : std::numeric_limits<double>::quiet_NaN());
    }
    return result;
}

Interval percentile_interval(std::vector<double> values, int num_blocks) {
    assert(num_blocks >= 2);
    std::erase_if(values, [](double value) { return std::isnan(value); });
    if (values.empty())
        return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
    const double k = num_blocks;
    const double tail = normal_distribution(-std::sqrt(k / (k - 1)) *
                                            student_t(static_cast<std::size_t>(num_blocks - 1)));
    std::sort(values.begin(), values.end());
    return {percentile(values, 100 * tail), percentile(values, 100 * (1 - tail))};
}

}  // namespace eplb
