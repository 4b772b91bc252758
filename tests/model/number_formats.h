#ifndef EPLB_TESTS_MODEL_NUMBER_FORMATS_H
#define EPLB_TESTS_MODEL_NUMBER_FORMATS_H

#include <cmath>
#include <limits>

// What the codes of the formats of weights stand for, by the formats' definitions and in double.
namespace eplb::test {

// sign, exponent, mantissa; exponent 0 means subnormal. Neither infinities nor NaNs.
inline double binary_value(int code, int exponent_bits, int mantissa_bits) {
    const int mantissa = code & ((1 << mantissa_bits) - 1);
    const int exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1);
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                                           : std::ldexp(mantissa + (1 << mantissa_bits),
                                                        exponent - bias - mantissa_bits);
    return (code >> (exponent_bits + mantissa_bits) & 1) != 0 ? -magnitude : magnitude;
}

inline double f16_value(int code) {
    if ((code & 0x7c00) == 0x7c00)
        return (code & 0x3ff) != 0 ? std::numeric_limits<double>::quiet_NaN()
               : code < 0x8000     ? std::numeric_limits<double>::infinity()
                                   : -std::numeric_limits<double>::infinity();
    return binary_value(code, 5, 10);
}

// no infinities; all bits set is NaN
inline double e4m3_value(int code) {
    return (code & 0x7f) == 0x7f ? std::numeric_limits<double>::quiet_NaN()
                                 : binary_value(code, 4, 3);
}

inline double e2m1_value(int code) {
    return binary_value(code, 2, 1);
}

inline double e8m0_value(int code) {
    return code == 255 ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, code - 127);
}

}  // namespace eplb::test

#endif
