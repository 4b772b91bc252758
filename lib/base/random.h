#ifndef EPLB_BASE_RANDOM_H
#define EPLB_BASE_RANDOM_H

#include <cstdint>

// Random numbers as a function of a key and a position, so that any thread can make any part.
namespace eplb {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves every bit of
// the output.
inline std::uint64_t mix_bits(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

// A key made of several; the order matters.
template <typename... Keys>
std::uint64_t combine_keys(std::uint64_t first, Keys... rest) {
    ((first = mix_bits(first ^ mix_bits(static_cast<std::uint64_t>(rest)))), ...);
    return first;
}

// in [0, 1), 24 bits
inline float uniform_at(std::uint64_t key, std::uint64_t position) {
    return static_cast<float>(mix_bits(key + position) >> 40) * 0x1p-24F;
}

// nearly normal, mean 0, variance 1, within +-3.5: the sum of four 16-bit uniforms
inline float normal_at(std::uint64_t key, std::uint64_t position) {
    const std::uint64_t bits = mix_bits(key + position);
    const auto sum = static_cast<std::int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                               ((bits >> 32) & 0xffff) + (bits >> 48));
    return static_cast<float>(sum - 2 * 0xffff) * (1.7320508F / 0x1p16F);
}

// The same numbers one after the other, for searches.
class RandomSequence {
  public:
    explicit RandomSequence(std::uint64_t key) : key_(mix_bits(key)) {}

    std::uint64_t bits() { return mix_bits(key_ + position_++); }

    // in (0, 1], 53 bits
    double uniform() { return static_cast<double>((bits() >> 11) + 1) * 0x1p-53; }

    // in [0, count), count >= 1
    int below(int count) {
        return static_cast<int>((bits() >> 32) * static_cast<std::uint64_t>(count) >> 32);
    }

  private:
    std::uint64_t key_;
    std::uint64_t position_ = 0;
};

}  // namespace eplb

#endif
