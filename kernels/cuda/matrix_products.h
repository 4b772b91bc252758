#ifndef EPLB_KERNELS_CUDA_MATRIX_PRODUCTS_H
#define EPLB_KERNELS_CUDA_MATRIX_PRODUCTS_H

#include <cublas_v2.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backends.h"
#include "kernels/cuda/cuda_device.h"
#include "lib/model/weight_matrix.h"

namespace eplb {

// Matrix products of a GPU, by cuBLAS. Weights, like all pointers here, are in device memory. A
// weight that is not stored as products need it is decoded, panel by panel.
class MatrixProducts {
  public:
    MatrixProducts(CudaDevice& device, const BackendOptions& options);
    ~MatrixProducts();
    MatrixProducts(const MatrixProducts&) = delete;
    MatrixProducts& operator=(const MatrixProducts&) = delete;

    // output [num_tokens][weight.num_rows] (+)= input * weight^T + bias
    void linear(const WeightMatrix& weight,
                const float* bias,
                int num_tokens,
                const float* input,
                float* output,
                bool add);

    // logits [num_tokens][num_experts] = input * weight^T, in fp32
    void router_logits(const float* weight,
                       int num_experts,
                       int hidden_size,
                       int num_tokens,
                       const float* input,
                       float* logits);

    // as Backend::grouped_mlp()
    void grouped_mlp(std::span<const MlpWeights> experts,
                     std::span<const std::int32_t> row_begin,
                     const std::int32_t* source_rows,
                     const float* input,
                     float* output);

  private:
    // Products of different experts share the GPU: each lane has a stream and memory of its own.
    struct Lane {
        explicit Lane(CudaDevice& device)
            : done(device, CudaEvent::Kind::ordering), blas_memory(device), panel(device) {}
        cudaStream_t stream = nullptr;
        CudaEvent done;
        CudaWorkspace blas_memory;
        CudaWorkspace panel;  // decoded weights
    };
    // Rows of one expert, that go through its products at once.
    struct Piece {
        const MlpWeights* mlp;
        std::int64_t begin;
        int num_rows;
    };

    cudaDataType_t product_type() const;
    std::size_t value_bytes() const;
    bool is_direct(const WeightMatrix& weight) const;
    int panel_rows(const WeightMatrix& weight) const;
    const void* rows_for_product(const std::int32_t* source_rows,
                                 std::int64_t num_rows,
                                 int size,
                                 const float* input,
                                 CudaWorkspace& converted);
    void select_lane(Lane& lane);
    void multiply(Lane& lane,
                  const WeightMatrix& weight,
                  int num_rows,
                  const void* input,
                  float* output,
                  bool add);
    void multiply_panel(cudaDataType_t type,
                        const void* weight,
                        int num_outputs,
                        int num_inputs,
                        int num_rows,
                        const void* input,
                        float* output,
                        int output_stride,
                        bool add);
    void run_pieces(std::span<const Piece> pieces,
                    const std::int32_t* source_rows,
                    const float* input,
                    float* output);
    void run_piece(
        Lane& lane, const Piece& piece, std::int64_t first_row, const void* x, float* output);

    CudaDevice& device_;
    BackendOptions options_;
    cublasHandle_t blas_ = nullptr;
    Lane main_lane_;  // in the device's own stream
    std::vector<std::unique_ptr<CudaStream>> lane_streams_;
    std::vector<std::unique_ptr<Lane>> lanes_;
    CudaEvent begun_;
    CudaWorkspace input_;       // [rows][inputs], gathered and in the products' type
    CudaWorkspace gate_;        // [rows][intermediate_size]
    CudaWorkspace up_;          // likewise
    CudaWorkspace activation_;  // likewise, in the products' type
};

}  // namespace eplb

#endif
