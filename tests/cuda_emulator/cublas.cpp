#include <cublas_v2.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulator/emulator.h"

using namespace cuda_emulator;

struct cublasContext {
    cudaStream_t stream = nullptr;
    bool has_workspace = false;
};

namespace {

// A column-major matrix, seen through its operation.
struct Operand {
    const std::byte* data;
    cudaDataType_t type;
    int stride;
    bool is_transposed;

    std::size_t value_bytes() const { return type == CUDA_R_32F ? 4 : 2; }
    double at(int row, int column) const {
        const int r = is_transposed ? column : row;
        const int c = is_transposed ? row : column;
        const std::byte* const value =
            data + (static_cast<std::size_t>(c) * static_cast<std::size_t>(stride) +
                    static_cast<std::size_t>(r)) *
                       value_bytes();
        if (type == CUDA_R_32F) {
            float number;
            std::memcpy(&number, value, sizeof(number));
            return number;
        }
        std::uint16_t bits;
        std::memcpy(&bits, value, sizeof(bits));
        return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    }

    // of `rows` x `columns` values after the operation
    bool is_valid(int rows, int columns) const {
        const int stored_rows = is_transposed ? columns : rows;
        const int stored_columns = is_transposed ? rows : columns;
        if (stride < (stored_rows > 1 ? stored_rows : 1))
            return false;
        if (reinterpret_cast<std::uintptr_t>(data) % value_bytes() != 0)
            misuse("an operand of a product is not aligned");
        if (stored_rows > 0 && stored_columns > 0)
            require_device_memory(
                data,
                (static_cast<std::size_t>(stored_columns - 1) * static_cast<std::size_t>(stride) +
                 static_cast<std::size_t>(stored_rows)) *
                    value_bytes(),
                "an operand of a product");
        return true;
    }
};

}  // namespace

const char* cublasGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS:
            return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_INVALID_VALUE:
            return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED:
            return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED:
            return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
    *handle = new cublasContext;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    cudaDeviceSynchronize();
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    handle->has_workspace = false;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, std::size_t num_bytes) {
    require_device_memory(workspace, num_bytes, "a workspace of cuBLAS");
    if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    handle->has_workspace = true;
    return CUBLAS_STATUS_SUCCESS;
}

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
                            cublasGemmAlgo_t /*algorithm*/) {
    if (a_type != b_type || c_type != CUDA_R_32F || compute_type != CUBLAS_COMPUTE_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!handle->has_workspace)
        misuse("a product of matrices has no workspace");
    const Operand left = {static_cast<const std::byte*>(a), a_type, a_stride,
                          a_operation == CUBLAS_OP_T};
    const Operand right = {static_cast<const std::byte*>(b), b_type, b_stride,
                           b_operation == CUBLAS_OP_T};
    const Operand result = {static_cast<const std::byte*>(c), c_type, c_stride, false};
    if (m < 0 || n < 0 || k < 0 || !left.is_valid(m, k) || !right.is_valid(k, n) ||
        !result.is_valid(m, n))
        return CUBLAS_STATUS_INVALID_VALUE;
    const auto run = [=, factor = *static_cast<const float*>(alpha),
                      old_factor = *static_cast<const float*>(beta),
                      values = static_cast<float*>(c)] {
        for (int column = 0; column < n; ++column)
            for (int row = 0; row < m; ++row) {
                double sum = 0;
                for (int i = 0; i < k; ++i)
                    sum += left.at(row, i) * right.at(i, column);
                float& value = values[static_cast<std::ptrdiff_t>(column) * c_stride + row];
                // what is there counts for nothing, even a NaN, where its factor is 0
                const double old = old_factor == 0 ? 0 : double{old_factor} * value;
                value = static_cast<float>(factor * sum + old);
            }
    };
    enqueue(handle->stream, run);
    return CUBLAS_STATUS_SUCCESS;
}
