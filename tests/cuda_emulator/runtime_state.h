#ifndef EPLB_TESTS_CUDA_EMULATOR_RUNTIME_STATE_H
#define EPLB_TESTS_CUDA_EMULATOR_RUNTIME_STATE_H

#include "tests/cuda_emulator/runtime_api.h"

// What the parts of the emulated runtime share.
namespace cuda_emulator {

// Remembers an error for cudaGetLastError().
cudaError_t failed(cudaError_t error);

// Runs all work of the streams that this thread has made for its device. Those of other threads may
// hold work that waits for this thread.
void run_streams();

int current_device();

}  // namespace cuda_emulator

#endif
