#ifndef EPLB_TESTS_BENCH_SAMPLERS_H
#define EPLB_TESTS_BENCH_SAMPLERS_H

#include <cstdint>
#include <optional>

#include "lib/base/random.h"

namespace eplb::bench {

// The C++ library's exp and log may differ in the last digit from system to system, even from
// processor to processor, and one digit is enough for another accepted candidate. These are made of
// operations that IEEE 754 defines to the bit; their relative error is below 1e-15.
double portable_exp(double x);
double portable_log(double x);  // x > 0, normal

// Exact samples of distributions (std:: leaves their algorithms open), a function of the key alone.
class RandomStream {
  public:
    explicit RandomStream(std::uint64_t key) : key_(key) {}

    double uniform();      // in (0, 1), without its ends
    int below(int bound);  // in [0, bound)
    double normal();       // mean 0, variance 1
    double gamma(double shape);
    int binomial(int num_trials, double probability);  // probability in [0, 1]

  private:
    // for probability <= 0.5; mean below 10, and from 10
    int binomial_by_inversion(int num_trials, double probability);
    int binomial_by_rejection(int num_trials, double probability);

    std::uint64_t key_;
    std::uint64_t position_ = 0;
    std::optional<double> spare_normal_;
};

}  // namespace eplb::bench

#endif
