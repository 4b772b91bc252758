#ifndef EPLB_BASE_FAST_EXP_H
#define EPLB_BASE_FAST_EXP_H

#include <algorithm>
#include <bit>
#include <cstdint>

namespace eplb {

// exp(x) to about 1e-8 of itself, for x clamped to [-700, 700]. A search that takes hundreds of
// thousands needs them quick, and the same on every machine, which std::exp does not promise.
inline double fast_exp(double x) {
    x = std::clamp(x, -700.0, 700.0);
    // x = k ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^52 rounds to a whole number
    constexpr double kRound = 0x1.8p52;
    const double k = (x * 1.4426950408889634 + kRound) - kRound;
    const double r = (x - k * 0x1.62e42fefp-1) - k * 0x1.473de6af278edp-34;
    // the Taylor polynomial
    double p = 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    const auto exponent = static_cast<std::uint64_t>(static_cast<std::int64_t>(k) + 1023) << 52;
    return p * std::bit_cast<double>(exponent);
}

// The same in single precision, to about 3e-6, for x clamped to [-80, 80]; loops of it are done
// several at once.
inline float fast_exp(float x) {
    x = x < -80.0F ? -80.0F : x;
    x = x > 80.0F ? 80.0F : x;
    constexpr float kRound = 0x1.8p23F;
    const float k = (x * 1.44269504F + kRound) - kRound;
    const float r = (x - k * 0x1.62e4p-1F) - k * 0x1.7f7d1cp-20F;
    float p = 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1;
    p = p * r + 1;
    const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(k) + 127) << 23;
    return p * std::bit_cast<float>(exponent);
}

}  // namespace eplb

#endif
