#ifndef EPLB_MODEL_WEIGHT_MATRIX_H
#define EPLB_MODEL_WEIGHT_MATRIX_H

#include <cstddef>

namespace eplb {

// How a checkpoint stores the weights of a linear layer.
//
// f8_e4m3: one byte per weight and a factor per block of 128 x 128 weights, the last blocks
// of a row or column cut off: weight = value * factor (checkpoints call it weight_scale_inv).
// mxfp4: two weights per byte, the low four bits first, and one byte per 32 weights of a row:
// weight = {0, .5, 1, 1.5, 2, 3, 4, 6, and these negative}[value] * 2^(byte - 127).
enum class WeightType { f32, f16, bf16, f8_e4m3, mxfp4 };

// Weights of a linear layer y = W x where the checkpoint holds them, not decoded and not aligned:
// row-major, little-endian, num_rows outputs and num_columns inputs. A view.
struct WeightMatrix {
    static constexpr int kScaleBlock = 128;  // f8_e4m3
    static constexpr int kMxBlock = 32;      // mxfp4; divides num_columns

    WeightType type = WeightType::f32;
    int num_rows = 0;
    int num_columns = 0;
    const std::byte* data = nullptr;
    // f8_e4m3: [ceil(stored rows / 128)][ceil(num_columns / 128)] of scale_type; mxfp4: bytes
    // [stored rows][num_columns / 32]; null for the others
    const std::byte* scales = nullptr;
    WeightType scale_type = WeightType::f32;  // of f8_e4m3's: f32 or bf16
    // row r of the matrix is the stored row first_row + r * row_step: gate and up may alternate
    int first_row = 0;
    int row_step = 1;
};

// What stands between the two halves of an MLP. g and u are the outputs of gate and up.
enum class Activation {
    swiglu,          // g * sigmoid(g) * u
    clamped_swiglu,  // (u + 1) * g * sigmoid(1.702 g), g <= limit and u in [-limit, limit]
                     // (gpt-oss)
};

// One MLP: down(activation(gate x, up x)). Biases are fp32, or null.
struct MlpWeights {
    WeightMatrix gate;  // [intermediate_size][hidden_size]
    WeightMatrix up;    // likewise
    WeightMatrix down;  // [hidden_size][intermediate_size]
    const float* gate_bias = nullptr;
    const float* up_bias = nullptr;
    const float* down_bias = nullptr;
    Activation activation = Activation::swiglu;
    float limit = 0;  // of clamped_swiglu
};

}  // namespace eplb

#endif
