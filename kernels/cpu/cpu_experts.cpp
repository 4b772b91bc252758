#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"
#include "lib/model/activation.h"

namespace eplb {
namespace {

void add_bias(const float* bias, int size, float* __restrict values) {
    if (bias != nullptr)
        for (int i = 0; i < size; ++i)
            values[i] += bias[i];
}

void swiglu(const float* gate, const float* up, int size, float* __restrict output) {
    for (int i = 0; i < size; ++i)
        output[i] = swiglu_f32(gate[i], up[i]);
}

void clamped_swiglu(
    const float* gate, const float* up, float limit, int size, float* __restrict output) {
    for (int i = 0; i < size; ++i)
        output[i] = clamped_swiglu_f32(gate[i], up[i], limit);
}

// output = activation(gate, up) of values [first, first + size) of the activation; biases are added
// to gate and up.
void activate(const MlpWeights& mlp, int first, int size, float* gate, float* up, float* output) {
    add_bias(mlp.gate_bias == nullptr ? nullptr : mlp.gate_bias + first, size, gate);
    add_bias(mlp.up_bias == nullptr ? nullptr : mlp.up_bias + first, size, up);
    if (mlp.activation == Activation::swiglu)
        swiglu(gate, up, size, output);
    else
        clamped_swiglu(gate, up, mlp.limit, size, output);
}

}  // namespace

void CpuBackend::grouped_mlp(std::span<const MlpWeights> experts,
                             std::span<const std::int32_t> row_begin,
                             const std::int32_t* source_rows,
                             const float* input,
                             float* output) {
    // large tiles make decoding cheap; where there are few rows, enough tiles for all threads
    constexpr int kMostRows = 512;
    constexpr int kFewestRows = 64;
    const int usual_rows =
        std::clamp(row_begin.back() / (4 * threads_.num_threads()), kFewestRows, kMostRows);
    tiles_.clear();
    for (std::size_t e = 0; e < experts.size(); ++e) {
        // equal tiles: what a small rest would need decoded is as much as for a large one
        const int num_rows = row_begin[e + 1] - row_begin[e];
        const int num_tiles = std::max(1, (num_rows + usual_rows / 2) / usual_rows);
        const int tile_rows = whole_groups((num_rows + num_tiles - 1) / num_tiles);
        for (std::int32_t row = row_begin[e]; row < row_begin[e + 1]; row += tile_rows)
            tiles_.push_back(
                {static_cast<int>(e), row, std::min<int>(tile_rows, row_begin[e + 1] - row)});
    }
    threads_.for_each(static_cast<std::int64_t>(tiles_.size()),
                      [&](std::int64_t index, int thread) {
                          const Tile& tile = tiles_[index];
                          run_mlp(experts[tile.expert], tile, source_rows, input, output, thread);
                      });
}

void CpuBackend::run_mlp(const MlpWeights& mlp,
                         const Tile& tile,
                         const std::int32_t* source_rows,
                         const float* input,
                         float* output,
                         int thread) {
    const int hidden_size = mlp.gate.num_columns;
    const int width = mlp.gate.num_rows;
    const int num_padded = whole_groups(tile.num_rows);
    const auto hidden = static_cast<std::size_t>(hidden_size);
    const auto padded = static_cast<std::size_t>(num_padded);
    const auto num_rows = static_cast<std::size_t>(tile.num_rows);
    const int gate_panel = std::min(panel_rows(mlp.gate), width);
    const int down_panel = std::min(panel_rows(mlp.down), hidden_size);
    const std::size_t panel_size =
        std::max(static_cast<std::size_t>(gate_panel) * hidden,
                 static_cast<std::size_t>(down_panel) * static_cast<std::size_t>(width));
    const std::size_t result_size =
        padded * static_cast<std::size_t>(std::max(2 * gate_panel, down_panel));
    float* const x = scratch(
        thread, padded * (hidden + static_cast<std::size_t>(width)) + panel_size + result_size);
    float* const activation = x + padded * hidden;
    float* const panel = activation + padded * static_cast<std::size_t>(width);
    float* const result = panel + panel_size;
    MatrixWork& work = of_thread_[thread].expert_work;

    for (std::size_t r = 0; r < num_rows; ++r) {
        const std::size_t row = static_cast<std::size_t>(tile.begin) + r;
        const auto source =
            source_rows == nullptr ? row : static_cast<std::size_t>(source_rows[row]);
        std::copy_n(input + source * hidden, hidden, x + r * hidden);
    }
    std::fill(x + num_rows * hidden, activation, 0.0F);

    const auto product = [&](const WeightMatrix& matrix, int first, int count, const float* from,
                             float* to) {
        const float* const w = decoded(matrix, first, count, panel);
        const MatrixTimer timer(work, 2.0 * tile.num_rows * matrix.num_columns * count);
        multiply(w, from, num_padded, matrix.num_columns, count, to);
    };
    for (int first = 0; first < width; first += gate_panel) {
        const int count = std::min(gate_panel, width - first);
        float* const up = result + padded * static_cast<std::size_t>(count);
        product(mlp.gate, first, count, x, result);
        product(mlp.up, first, count, x, up);
        for (std::ptrdiff_t r = 0; r < num_padded; ++r)
            activate(mlp, first, count, result + r * count, up + r * count,
                     activation + r * width + first);
    }
    for (int first = 0; first < hidden_size; first += down_panel) {
        const int count = std::min(down_panel, hidden_size - first);
        product(mlp.down, first, count, activation, result);
        for (std::size_t r = 0; r < num_rows; ++r) {
            float* const to = output + (static_cast<std::size_t>(tile.begin) + r) * hidden + first;
            std::copy_n(result + r * static_cast<std::size_t>(count), count, to);
            add_bias(mlp.down_bias == nullptr ? nullptr : mlp.down_bias + first, count, to);
        }
    }
}

}  // namespace eplb
