#ifndef EPLB_BASE_ERROR_H
#define EPLB_BASE_ERROR_H

#include <stdexcept>

namespace eplb {

// Whatever a user, a file or a machine can cause. The text starts with what it is about
// ("stats/rank3.safetensors: …") and ends, where there is one, in the remedy. Thrown by the
// library, caught once, in run_tool(); exit code 1.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// What was to be checked does not hold; exit code 3.
class GateError : public Error {
  public:
    using Error::Error;
};

// A signal ended the run, here or at another process of it; exit code 130.
class InterruptedError : public Error {
  public:
    using Error::Error;
};

// The command line asks for something that cannot be; exit code 2.
class UsageError : public Error {
  public:
    using Error::Error;
};

}  // namespace eplb

#endif
