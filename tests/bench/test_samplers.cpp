#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/bench/samplers.h"
#include "tests/test_support.h"

namespace eplb::test_samplers {

using eplb::combine_keys;
using eplb::bench::portable_exp;
using eplb::bench::portable_log;
using eplb::bench::RandomStream;

namespace {

// Mean and variance of samples, and how far they may be from theory.
class Moments {
  public:
    void add(double value) { values_.push_back(value); }

    // fourth: the fourth central moment, which says how far the variance of samples strays
    void check(double mean, double variance, double fourth) const {
        const auto count = static_cast<double>(values_.size());
        double sum = 0;
        double squares = 0;
        for (const double value : values_) {
            sum += value - mean;
            squares += (value - mean) * (value - mean);
        }
        // the second term: a rare event that happens once or twice too often
        const double mean_margin = kSigmas * std::sqrt(variance / count) + kSigmas / count;
        const double variance_margin =
            kSigmas * std::sqrt(std::max(0.0, fourth - variance * variance) / count) +
            kSigmas / count;
        CHECK(std::abs(sum / count) <= mean_margin);
        CHECK(std::abs(squares / count - variance) <= variance_margin);
    }

  private:
    static constexpr double kSigmas = 4;
    std::vector<double> values_;
};

double binomial_mass(int n, double p, int k) {
    return std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) +
                    k * std::log(p) + (n - k) * std::log1p(-p));
}

}  // namespace

TEST_CASE("exp and log agree with the C++ library's") {
    RandomStream random(1);
    double exp_error = 0;
    double log_error = 0;
    for (int i = 0; i < 20000; ++i) {
        const double x = (2 * random.uniform() - 1) * (i % 2 == 0 ? 1 : 600);
        exp_error = std::max(exp_error, std::abs(portable_exp(x) / std::exp(x) - 1));
        const double y = i % 2 == 0 ? 2 * random.uniform() : std::exp(x);
        log_error = std::max(log_error, std::abs(portable_log(y) / std::log(y) - 1));
    }
    CHECK(exp_error < 1e-15);
    CHECK(log_error < 1e-15);
    CHECK(portable_exp(0) == 1);
    CHECK(portable_exp(-1e9) == 0);
    CHECK(portable_log(1) == 0);
}

TEST_CASE("normal and uniform numbers have the moments of theory") {
    RandomStream random(2);
    Moments normal;
    Moments square;
    Moments uniform;
    for (int i = 0; i < 200000; ++i) {
        const double value = random.normal();
        normal.add(value);
        square.add(value * value);
        uniform.add(random.uniform());
    }
    normal.check(0, 1, 3);
    square.check(1, 2, 60);
    uniform.check(0.5, 1.0 / 12, 1.0 / 80);
}

TEST_CASE("gamma numbers have the moments of theory, below a shape of 1 too") {
    for (const double shape : {0.05, 0.3, 0.9, 1.0, 1.5, 7.0, 60.0, 5000.0}) {
        RandomStream random(combine_keys(3, static_cast<int>(shape * 100)));
        Moments moments;
        for (int i = 0; i < 50000; ++i)
            moments.add(random.gamma(shape));
        CAPTURE(shape);
        moments.check(shape, shape, 3 * shape * shape + 6 * shape);
    }
}

TEST_CASE("shares of gamma numbers have a Dirichlet's moments") {
    const std::vector<double> shapes = {0.4, 2, 7.6};
    const double sum = 10;
    RandomStream random(4);
    std::vector<Moments> moments(shapes.size());
    for (int i = 0; i < 50000; ++i) {
        std::vector<double> values;
        double total = 0;
        for (const double shape : shapes) {
            values.push_back(random.gamma(shape));
            total += values.back();
        }
        for (std::size_t j = 0; j < values.size(); ++j)
            moments[j].add(values[j] / total);
    }
    for (std::size_t j = 0; j < shapes.size(); ++j) {
        // each share is a beta number; its kurtosis gives the fourth moment
        const double a = shapes[j];
        const double b = sum - a;
        const double variance = a * b / (sum * sum * (sum + 1));
        const double excess = 6 * ((a - b) * (a - b) * (sum + 1) - a * b * (sum + 2)) /
                              (a * b * (sum + 2) * (sum + 3));
        moments[j].check(a / sum, variance, (3 + excess) * variance * variance);
    }
}

TEST_CASE("binomial numbers have the mean and variance of theory") {
    for (const int n : {1, 7, 60, 4096, 20000})
        for (const double p :
             {0.0, 1e-5, 0.0004, 0.0024, 0.0025, 0.04, 0.3, 0.5, 0.71, 0.97, 1.0}) {
            RandomStream random(combine_keys(5, n, static_cast<int>(p * 1e5)));
            Moments moments;
            bool in_range = true;
            for (int i = 0; i < 10000; ++i) {
                const int value = random.binomial(n, p);
                in_range = in_range && value >= 0 && value <= n;
                moments.add(value);
            }
            CAPTURE(n, p);
            CHECK(in_range);
            const double variance = n * p * (1 - p);
            moments.check(n * p, variance, variance * (1 + (3 * n - 6.0) * p * (1 - p)));
        }
}

TEST_CASE("binomial numbers come as often as their probability mass says") {
    struct Case {
        int n;
        double p;
    };
    // by inversion, by rejection just above its limit, and far above
    for (const auto& [n, p] : std::vector<Case>{{3, 0.4},
                                                {12, 0.3},
                                                {12, 0.9},
                                                {400, 0.01},
                                                {20000, 0.0004},
                                                {20, 0.5},
                                                {21, 0.5},
                                                {40, 0.3},
                                                {40, 0.74},
                                                {340, 0.97},
                                                {4096, 0.00245},
                                                {4096, 0.01},
                                                {4096, 0.9},
                                                {20000, 0.11}}) {
        constexpr int kNumDraws = 200000;
        RandomStream random(combine_keys(6, n, static_cast<int>(p * 1e5)));
        std::vector<int> observed(static_cast<std::size_t>(n) + 1);
        for (int i = 0; i < kNumDraws; ++i)
            ++observed[random.binomial(n, p)];
        // Pearson's statistic; values that are rarer than that share a cell with the next
        constexpr double kLeastExpected = 10;
        double statistic = 0;
        int num_cells = 0;
        double expected_here = 0;
        double observed_here = 0;
        double expected_left = kNumDraws;
        for (int k = 0; k <= n; ++k) {
            const double expected = kNumDraws * binomial_mass(n, p, k);
            expected_here += expected;
            expected_left -= expected;
            observed_here += observed[k];
            if (k < n && (expected_here < kLeastExpected || expected_left < kLeastExpected))
                continue;
            statistic +=
                (observed_here - expected_here) * (observed_here - expected_here) / expected_here;
            ++num_cells;
            expected_here = 0;
            observed_here = 0;
        }
        CAPTURE(n, p, statistic, num_cells);
        REQUIRE(num_cells > 1);
        const double freedom = num_cells - 1;
        CHECK(statistic < freedom + 3.5 * std::sqrt(2 * freedom) + 3);
    }
}

}  // namespace eplb::test_samplers
