#ifndef EPLB_KERNELS_CUDA_STAGE_CLOCK_H
#define EPLB_KERNELS_CUDA_STAGE_CLOCK_H

#include <deque>
#include <vector>

#include "kernels/cuda/cuda_device.h"

namespace eplb {

// How long the stages of a GPU's work took, by the GPU's clock: an event is put between them.
class StageClock {
  public:
    explicit StageClock(CudaDevice& device) : device_(device) {}

    void begin(int stage);
    std::vector<double> seconds();  // waits

  private:
    struct Mark {
        CudaEvent event;
        int stage;  // that it begins
    };

    void count_passed();

    CudaDevice& device_;
    std::deque<Mark> marks_;  // not all counted yet, in the order of the work
    std::vector<CudaEvent> spare_;
    std::vector<double> seconds_;
};

}  // namespace eplb

#endif
