#ifndef EPLB_TESTS_CUDA_EMULATOR_CUBLAS_V2_H
#define EPLB_TESTS_CUDA_EMULATOR_CUBLAS_V2_H

#include <cstddef>

#include "tests/cuda_emulator/runtime_api.h"

// The part of cuBLAS that the project uses, evaluated naively: sums in double, rounded once. Names,
// values and meaning are NVIDIA's.

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};

enum cublasOperation_t { CUBLAS_OP_N = 0, CUBLAS_OP_T = 1 };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16BF = 14 };

using cublasHandle_t = struct cublasContext*;

const char* cublasGetStatusString(cublasStatus_t status);
cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
// Also takes the workspace away.
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t num_bytes);
// Column-major: c [m][n] = alpha * op(a) [m][k] * op(b) [k][n] + beta * c. Without a workspace of
// the caller's a product would have to get one, which may wait for the GPU: an error.
cublasStatus_t cublasGemmEx(cublasHandle_t handle,
                            cublasOperation_t a_operation,
                            cublasOperation_t b_operation,
                            int m,
                            int n,
                            int k,
                            const void* alpha,
                            const void* a,
                            cudaDataType_t a_type,
                            int a_stride,
                            const void* b,
                            cudaDataType_t b_type,
                            int b_stride,
                            const void* beta,
                            void* c,
                            cudaDataType_t c_type,
                            int c_stride,
                            cublasComputeType_t compute_type,
                            cublasGemmAlgo_t algorithm);

#endif
