#include "lib/statistics/hypergeometric.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>

namespace eplb {
namespace {

// log(n!) - log(sqrt(2 pi n) (n / e)^n), and bd0(x, m) = x log(x / m) + m - x, neither by taking
// large logarithms from each other: so that probabilities are right for counts beyond 2^31, too
// (Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000).
double stirling_error(double n) {
    constexpr double kSeriesFrom = 16;
    if (n < kSeriesFrom)
        return std::lgamma(n + 1) - (n + 0.5) * std::log(n) + n -
               0.5 * std::log(2 * std::numbers::pi);
    const double square = n * n;
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - 1.0 / 1680 / square) / square) / square) / n;
}

double deviance(double x, double mean) {
    const double difference = x - mean;
    if (std::abs(difference) >= 0.1 * (x + mean))
        return x * std::log(x / mean) + mean - x;
    const double v = difference / (x + mean);
    double sum = difference * v;
    double term = 2 * x * v;
    for (int i = 1; i < 1000; ++i) {
        term *= v * v;
        const double next = sum + term / (2 * i + 1);
        if (next == sum)
            break;
        sum = next;
    }
    return sum;
}

// log of the binomial probability of x in n at p, 0 < p < 1.
double log_binomial(double x, double n, double p) {
    if (x == 0)
        return n * std::log1p(-p);
    if (x == n)
        return n * std::log(p);
    return stirling_error(n) - stirling_error(x) - stirling_error(n - x) - deviance(x, n * p) -
           deviance(n - x, n * (1 - p)) + 0.5 * std::log(n / (2 * std::numbers::pi * x * (n - x)));
}

}  // namespace

std::int64_t draw_hypergeometric(RandomSequence& random,
                                 std::int64_t num_marked,
                                 std::int64_t num_others,
                                 std::int64_t num_drawn) {
    assert(num_drawn <= num_marked + num_others);
    const std::int64_t least = std::max<std::int64_t>(0, num_drawn - num_others);
    const std::int64_t most = std::min(num_marked, num_drawn);
    if (least == most)
        return least;
    const auto marked = static_cast<double>(num_marked);
    const auto others = static_cast<double>(num_others);
    const auto drawn = static_cast<double>(num_drawn);
    // counts are below 2^53, and so is the mode
    const auto mode =
        std::clamp(static_cast<std::int64_t>((drawn + 1) * ((marked + 1) / (marked + others + 2))),
                   least, most);
    const double share = drawn / (marked + others);
    const auto at_mode = static_cast<double>(mode);
    double below = std::exp(log_binomial(at_mode, marked, share) +
                            log_binomial(drawn - at_mode, others, share) -
                            log_binomial(drawn, marked + others, share));
    double above = below;
    std::int64_t low = mode;
    std::int64_t high = mode;
    double rest = random.uniform() - below;
    while (rest >= 0 && (low > least || high < most)) {
        if (high < most) {
            const auto x = static_cast<double>(high);
            above *= (marked - x) / (x + 1) * ((drawn - x) / (others - drawn + x + 1));
            ++high;
            rest -= above;
            if (rest < 0)
                return high;
        }
        if (low > least) {
            const auto x = static_cast<double>(low);
            below *= x / (marked - x + 1) * ((others - drawn + x) / (drawn - x + 1));
            --low;
            rest -= below;
            if (rest < 0)
                return low;
        }
        // what rounding leaves over belongs to nobody: beyond, all is next to impossible
        constexpr double kNothing = 1e-18;
        if (above < kNothing && below < kNothing)
            break;
    }
    return mode;
}

void draw_without_replacement(RandomSequence& random,
                              std::span<std::int64_t> pool,
                              std::int64_t num_drawn,
                              std::span<std::int64_t> taken) {
    std::int64_t others = std::accumulate(pool.begin(), pool.end(), std::int64_t{0});
    assert(num_drawn <= others && pool.size() == taken.size());
    for (std::size_t kind = 0; kind < pool.size(); ++kind) {
        others -= pool[kind];
        const std::int64_t count = draw_hypergeometric(random, pool[kind], others, num_drawn);
        num_drawn -= count;
        pool[kind] -= count;
        taken[kind] += count;
    }
}

}  // namespace eplb
