#include "tests/bench/samplers.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace eplb::bench {
namespace {

constexpr std::array<double, 15> kExpSeries = [] {
    std::array<double, 15> series = {1};  // 1 / i!
    for (std::size_t i = 1; i < series.size(); ++i)
        series[i] = series[i - 1] / static_cast<double>(i);
    return series;
}();

constexpr std::array<double, 11> kArtanhSeries = [] {
    std::array<double, 11> series = {};  // 1 / (2 i + 1)
    for (std::size_t i = 0; i < series.size(); ++i)
        series[i] = 1 / static_cast<double>(2 * i + 1);
    return series;
}();

// Of the exponents that normal numbers have; a call of std::ldexp() takes longer than all else of
// portable_exp().
double power_of_two(int exponent) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52);
}

double integer_power(double base, int exponent) {
    double result = 1;
    for (; exponent > 0; exponent /= 2, base *= base)
        if (exponent % 2 == 1)
            result *= base;
    return result;
}

// ln k! less Stirling's (k + 1/2) ln(k + 1) - (k + 1) + ln(2 pi) / 2
double stirling_rest(double k) {
    static constexpr std::array<double, 10> kSmall = {
        0.0810614667953272582, 0.0413406959554092941, 0.0276779256849983391, 0.0207906721037650931,
        0.0166446911898211922, 0.0138761288230707480, 0.0118967099458917701, 0.0104112652619720965,
        0.0092554621827127329, 0.0083305634333628713};
    if (k < static_cast<double>(kSmall.size()))
        return kSmall[static_cast<std::size_t>(k)];
    const double square = (k + 1) * (k + 1);
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - 1.0 / 1680 / square) / square) / square) /
           (k + 1);
}

}  // namespace

double portable_exp(double x) {
    // results below are of no use as weights, and above there are none
    if (x < -700)
        return 0;
    // the high part has few enough digits that its multiples are exact
    constexpr double kLn2High = 0x1.62e42fee00000p-1;
    constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
    const double power = std::floor(x * std::numbers::log2e + 0.5);
    const double rest = (x - power * kLn2High) - power * kLn2Low;
    double sum = 0;  // |rest| <= 0.35
    for (std::size_t i = kExpSeries.size(); i-- > 0;)
        sum = sum * rest + kExpSeries[i];
    // in two steps, as the largest results take 2^1024
    const int half = static_cast<int>(power) / 2;
    return sum * power_of_two(half) * power_of_two(static_cast<int>(power) - half);
}

double portable_log(double x) {
    // of a normal number; a call of std::frexp() takes longer than all else
    const auto bits = std::bit_cast<std::uint64_t>(x);
    int power = static_cast<int>(bits >> 52) - 1022;
    double mantissa = std::bit_cast<double>((bits & 0xf'ffff'ffff'ffff) | 1022ULL << 52);
    if (mantissa < 0.5 * std::numbers::sqrt2) {
        mantissa *= 2;
        --power;
    }
    // ln m = 2 artanh t, |t| <= 0.172
    const double t = (mantissa - 1) / (mantissa + 1);
    const double square = t * t;
    double sum = 0;
    for (std::size_t i = kArtanhSeries.size(); i-- > 0;)
        sum = sum * square + kArtanhSeries[i];
    return power * std::numbers::ln2 + 2 * t * sum;
}

double RandomStream::uniform() {
    // with 52 bits the half that keeps the ends out is exact
    return (static_cast<double>(mix_bits(key_ + position_++) >> 12) + 0.5) * 0x1p-52;
}

int RandomStream::below(int bound) {
    return static_cast<int>(uniform() * bound);
}

// The polar method of Marsaglia, which makes two at a time.
double RandomStream::normal() {
    if (spare_normal_) {
        const double value = *spare_normal_;
        spare_normal_.reset();
        return value;
    }
    while (true) {
        const double x = 2 * uniform() - 1;
        const double y = 2 * uniform() - 1;
        const double square = x * x + y * y;
        if (square >= 1 || square == 0)
            continue;
        const double scale = std::sqrt(-2 * portable_log(square) / square);
        spare_normal_ = scale * y;
        return scale * x;
    }
}

// Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
double RandomStream::gamma(double shape) {
    if (shape < 1) {
        const double larger = gamma(shape + 1);
        return larger * portable_exp(portable_log(uniform()) / shape);
    }
    const double d = shape - 1.0 / 3;
    const double c = 1 / std::sqrt(9 * d);
    while (true) {
        const double x = normal();
        const double root = 1 + c * x;
        if (root <= 0)
            continue;
        const double v = root * root * root;
        const double u = uniform();
        const double square = x * x;
        if (u < 1 - 0.0331 * square * square ||
            portable_log(u) < 0.5 * square + d * (1 - v + portable_log(v)))
            return d * v;
    }
}

int RandomStream::binomial(int num_trials, double probability) {
    if (probability > 0.5)
        return num_trials - binomial(num_trials, 1 - probability);
    return num_trials * probability < 10 ? binomial_by_inversion(num_trials, probability)
                                         : binomial_by_rejection(num_trials, probability);
}

int RandomStream::binomial_by_inversion(int num_trials, double probability) {
    const double odds = probability / (1 - probability);
    const double none = integer_power(1 - probability, num_trials);
    while (true) {
        double u = uniform();
        double mass = none;
        // a value beyond has a probability of 1e-70: u is then one that rounding left over
        for (int value = 0; value <= 110; ++value) {
            if (u <= mass)
                return value;
            u -= mass;
            mass *= (num_trials - value) * odds / (value + 1);
        }
    }
}

// BTRS of Hörmann, "The generation of binomial random variates" (1993): a transformed uniform as
// candidate, accepted at once in the middle and otherwise by the ratio of probability to hat.
int RandomStream::binomial_by_rejection(int num_trials, double probability) {
    const double n = num_trials;
    const double odds = probability / (1 - probability);
    const double deviation = std::sqrt(n * probability * (1 - probability));
    const double b = 1.15 + 2.53 * deviation;
    const double a = -0.0873 + 0.0248 * b + 0.01 * probability;
    const double center = n * probability + 0.5;
    const double always = 0.92 - 4.2 / b;
    while (true) {
        const double u = uniform() - 0.5;
        double v = uniform();
        const double from_end = 0.5 - std::abs(u);
        const double k = std::floor((2 * a / from_end + b) * u + center);
        if (from_end >= 0.07 && v <= always)
            return static_cast<int>(k);
        if (k < 0 || k > n)
            continue;
        v *= (2.83 + 5.1 / b) * deviation / (a / (from_end * from_end) + b);
        const double mode = std::floor((n + 1) * probability);
        const double log_ratio = (mode + 0.5) * portable_log((mode + 1) / (odds * (n - mode + 1))) +
                                 (n + 1) * portable_log((n - mode + 1) / (n - k + 1)) +
                                 (k + 0.5) * portable_log(odds * (n - k + 1) / (k + 1)) +
                                 stirling_rest(mode) + stirling_rest(n - mode) - stirling_rest(k) -
                                 stirling_rest(n - k);
        if (portable_log(v) <= log_ratio)
            return static_cast<int>(k);
    }
}

}  // namespace eplb::bench
