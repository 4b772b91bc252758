#ifndef EPLB_KERNELS_CPU_MATRIX_PRODUCT_H
#define EPLB_KERNELS_CPU_MATRIX_PRODUCT_H

// Eigen would compute small products in another way, which ones depends on the number of columns
#define EIGEN_GEMM_TO_COEFFBASED_THRESHOLD 0
#include <Eigen/Core>
#include <cstdint>

#include "lib/model/decode.h"
#include "lib/model/weight_matrix.h"

// Eigen's matrix products, such that a token's result is the same bits whatever shares the call.
namespace eplb {

using ColumnMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Tokens are the columns of Eigen's right-hand side. It treats columns in groups of a fixed size
// and what is left over differently; with whole groups only, a column's result depends on neither
// its place nor its neighbours.
constexpr int kColumnGroup = 8;

inline int whole_groups(int num_rows) {
    return (num_rows + kColumnGroup - 1) / kColumnGroup * kColumnGroup;
}

// Sixteen sums, added up at the end: a fixed order, and the loop vectorizes.
inline float dot(const float* a, const float* b, int size) {
    constexpr int kLanes = 16;
    float sums[kLanes] = {};
    int i = 0;
    for (; i + kLanes <= size; i += kLanes)
        for (int lane = 0; lane < kLanes; ++lane)
            sums[lane] += a[i + lane] * b[i + lane];
    float sum = 0;
    for (; i < size; ++i)
        sum += a[i] * b[i];
    for (const float lane : sums)
        sum += lane;
    return sum;
}

// output [num_rows][num_outputs] = input [num_rows][num_inputs] * weight^T, weight
// [num_outputs][num_inputs]; num_rows in whole groups.
inline void multiply(const float* weight,
                     const float* input,
                     int num_rows,
                     int num_inputs,
                     int num_outputs,
                     float* output) {
    // for Eigen that would be a vector, not a matrix of whole groups
    if (num_outputs == 1) {
        for (std::ptrdiff_t row = 0; row < num_rows; ++row)
            output[row] = dot(weight, input + row * num_inputs, num_inputs);
        return;
    }
    const Eigen::Map<const RowMajor> w(weight, num_outputs, num_inputs);
    const Eigen::Map<const ColumnMajor> x(input, num_inputs, num_rows);
    Eigen::Map<ColumnMajor>(output, num_outputs, num_rows).noalias() = w * x;
}

// Rows of a weight matrix that are decoded and multiplied at once: enough that what shares them is
// worth decoding, few enough that they stay in the caches. It depends on the matrix alone, and is a
// multiple of what Eigen's kernels take at once, so that a row's bits do too.
inline int panel_rows(const WeightMatrix& matrix) {
    constexpr int kMostRows = 480;
    constexpr int kRowGroup = 48;
    constexpr int kMostWeights = 1 << 22;
    const int rows = kMostWeights / matrix.num_columns / kRowGroup * kRowGroup;
    return rows < kRowGroup ? kRowGroup : rows > kMostRows ? kMostRows : rows;
}

// Rows [first, first + num_rows) as fp32: where they stand, or decoded into scratch.
inline const float* decoded(const WeightMatrix& matrix, int first, int num_rows, float* scratch) {
    const auto num_columns = static_cast<std::size_t>(matrix.num_columns);
    const bool in_place = matrix.type == WeightType::f32 && matrix.row_step == 1 &&
                          reinterpret_cast<std::uintptr_t>(matrix.data) % alignof(float) == 0;
    if (in_place)
        return reinterpret_cast<const float*>(matrix.data) +
               static_cast<std::size_t>(matrix.first_row + first) * num_columns;
    for (int row = 0; row < num_rows; ++row)
        decode_row(matrix, first + row, 0, matrix.num_columns,
                   scratch + static_cast<std::size_t>(row) * num_columns);
    return scratch;
}

}  // namespace eplb

#endif
