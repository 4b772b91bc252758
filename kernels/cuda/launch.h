#ifndef EPLB_KERNELS_CUDA_LAUNCH_H
#define EPLB_KERNELS_CUDA_LAUNCH_H

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/backend.h"

// One function per kernel of the GPU: what Backend computes apart from matrix products. Each puts
// its work into a stream and returns; none allocates or waits.
//
// Pointers are device memory, also those inside the argument structs of Backend and in a
// WeightMatrix. Spans are host memory, read before the call returns. Nothing is done where there
// are no rows, tokens or values. What cannot be launched is an Error.
namespace eplb::cuda {

// Of select().
inline constexpr int kMostExperts = 1024;
inline constexpr int kMostTopK = 32;
inline constexpr int kMostGroups = 32;
// Of plan_dispatch().
inline constexpr int kMostPlaces = 3072;
// Of attention().
inline constexpr int kMostValueSize = 512;

void copy_rows(const Backend::CopyArguments& copy,
               const float* from,
               float* to,
               cudaStream_t stream);

void gather_rows(const std::int32_t* source_rows,
                 std::int64_t num_rows,
                 std::size_t row_bytes,
                 const void* from,
                 void* to,
                 cudaStream_t stream);

// Adds 1 or more to *found if one of the values is infinite or NaN.
void find_non_finite(const float* values,
                     std::int64_t num_values,
                     std::int32_t* found,
                     cudaStream_t stream);

void clamp(float limit, std::int64_t num_values, float* values, cudaStream_t stream);

// Row r of `to`, of `size` bf16 values without gaps, is row source_rows[r] of `from`, or row r
// where source_rows is null; rounded to nearest, ties to even.
void convert_to_bf16(const std::int32_t* source_rows,
                     std::int64_t num_rows,
                     int size,
                     std::int64_t from_stride,
                     const float* from,
                     std::uint16_t* to,
                     cudaStream_t stream);

// Rows [first_row, first_row + num_rows) of a matrix without gaps, [num_rows][num_columns].
void decode(
    const WeightMatrix& matrix, int first_row, int num_rows, float* output, cudaStream_t stream);
// The same rounded to bf16, to nearest, ties to even.
void decode(const WeightMatrix& matrix,
            int first_row,
            int num_rows,
            std::uint16_t* output,
            cudaStream_t stream);

void embed(const WeightMatrix& table,
           const std::int32_t* token_ids,
           std::int64_t num_tokens,
           float* output,
           cudaStream_t stream);

void rms_norm(const Backend::NormArguments& norm,
              std::int64_t num_rows,
              const float* input,
              float* output,
              cudaStream_t stream);

void rotate(const Backend::RotaryArguments& rotary,
            const std::int32_t* positions,
            std::int64_t num_rows,
            float* values,
            cudaStream_t stream);

// The pieces are host memory, what they point at is not.
void attention(const Backend::AttentionArguments& attention,
               std::span<const Backend::AttentionPiece> pieces,
               cudaStream_t stream);

// What route() does behind the product with the router's weight: logits [num_tokens][num_experts]
// + logit_bias, select_experts(). routed.normalized is not used. Given equal logits, expert_ids and
// margins are those of select_experts(), bit by bit (sqrtsoftplus: but for log1p); so are weights,
// but for softmax without normalization, whose sum has another order.
void select(const RouterSpec& spec,
            const float* logit_bias,
            const float* bias,
            int num_tokens,
            const float* logits,
            const Backend::RoutedTokens& routed,
            cudaStream_t stream);

// `workspace` is at least dispatch_workspace_bytes() of device memory, aligned to 4 bytes.
std::size_t dispatch_workspace_bytes(const Backend::DispatchArguments& dispatch);
void plan_dispatch(const Backend::DispatchArguments& dispatch,
                   const Backend::DispatchRows& rows,
                   void* workspace,
                   cudaStream_t stream);

// values[r][i] += bias[i], unless bias is null; rows of `size` values, row_stride apart.
void add_bias(const float* bias,
              std::int64_t num_rows,
              int size,
              std::int64_t row_stride,
              float* values,
              cudaStream_t stream);

// What stands between the halves of an MLP: output[r] = activation(gate[r] + gate_bias, up[r] +
// up_bias), rows of `width` values; input_stride is that of gate and up, output rows have no gaps.
// A bias may be null.
struct ActivationArguments {
    Activation activation;
    float limit;  // of clamped_swiglu
    int width;
    std::int64_t input_stride;
    const float* gate_bias;
    const float* up_bias;
};
void activate(const ActivationArguments& arguments,
              std::int64_t num_rows,
              const float* gate,
              const float* up,
              float* output,
              cudaStream_t stream);
// The same rounded to bf16, to nearest, ties to even.
void activate(const ActivationArguments& arguments,
              std::int64_t num_rows,
              const float* gate,
              const float* up,
              std::uint16_t* output,
              cudaStream_t stream);

void combine(int num_tokens,
             const Backend::CombineArguments& arguments,
             float* hidden,
             cudaStream_t stream);

}  // namespace eplb::cuda

#endif
