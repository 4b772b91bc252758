#ifndef EPLB_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H
#define EPLB_TESTS_CUDA_EMULATOR_CUDA_RUNTIME_H

// Stands in for NVIDIA's header of this name, so that any C++ compiler builds kernels/cuda and any
// machine runs it. See emulator.h.
#include "tests/cuda_emulator/device_language.h"
#include "tests/cuda_emulator/kernel_launch.h"
#include "tests/cuda_emulator/runtime_api.h"

#endif
