#ifndef EPLB_KERNELS_CPU_MATRIX_WORK_H
#define EPLB_KERNELS_CPU_MATRIX_WORK_H

#include <chrono>

namespace eplb {

// What products took: seconds of one thread, and multiplications and additions asked for.
struct MatrixWork {
    double seconds = 0;
    double flop = 0;

    void operator+=(const MatrixWork& other) {
        seconds += other.seconds;
        flop += other.flop;
    }
};

// Adds the time of its life to some work.
class MatrixTimer {
  public:
    MatrixTimer(MatrixWork& work, double flop)
        : work_(work), flop_(flop), start_(std::chrono::steady_clock::now()) {}
    ~MatrixTimer() {
        work_.seconds +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
        work_.flop += flop_;
    }
    MatrixTimer(const MatrixTimer&) = delete;
    MatrixTimer& operator=(const MatrixTimer&) = delete;

  private:
    MatrixWork& work_;
    double flop_;
    std::chrono::steady_clock::time_point start_;
};

}  // namespace eplb

#endif
