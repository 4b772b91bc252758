#ifndef EPLB_BASE_HOST_DEVICE_H
#define EPLB_BASE_HOST_DEVICE_H

// A function that the CPU and kernels of the GPU share: one source, so that what the tests of the
// CPU cover is what the GPU runs.
#ifdef __CUDACC__
#define EPLB_HOST_DEVICE __host__ __device__ inline
#else
#define EPLB_HOST_DEVICE inline
#endif

#endif
