#include "kernels/cpu/cpu_backend.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "lib/model/select_experts.h"

namespace eplb {
namespace {

using ColumnMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Tokens are the columns of Eigen's right-hand side. It treats columns in groups of a fixed size
// and what is left over differently; with whole groups only, a column's result depends on neither
// its place nor its neighbours.
constexpr int kColumnGroup = 8;

constexpr int kRouterTile = 64;
constexpr int kExpertTile = 128;

constexpr float kNormEpsilon = 1e-6F;

int whole_groups(int num_rows) {
    return (num_rows + kColumnGroup - 1) / kColumnGroup * kColumnGroup;
}

// output [num_rows][num_outputs] = input [num_rows][num_inputs] * weight, in Eigen's terms the
// transposed product; num_rows in whole groups. Layout is that of the weight as a matrix of
// num_outputs x num_inputs: RowMajor for [num_outputs][num_inputs] in memory, ColumnMajor (which
// Eigen packs faster) for [num_inputs][num_outputs].
template <typename Layout>
void multiply(const float* weight,
              const float* input,
              int num_rows,
              int num_inputs,
              int num_outputs,
              float* output) {
    const Eigen::Map<const Layout> w(weight, num_outputs, num_inputs);
    const Eigen::Map<const ColumnMajor> x(input, num_inputs, num_rows);
    Eigen::Map<ColumnMajor> y(output, num_outputs, num_rows);
    y.noalias() = w * x;
}

void normalize_row(const float* hidden, const float* norm, int hidden_size, float* normalized) {
    // four sums, so that the order of additions is fixed and yet the loop vectorizes
    double sum[4] = {};
    int i = 0;
    for (; i + 4 <= hidden_size; i += 4)
        for (int lane = 0; lane < 4; ++lane)
            sum[lane] += static_cast<double>(hidden[i + lane]) * hidden[i + lane];
    for (; i < hidden_size; ++i)
        sum[0] += static_cast<double>(hidden[i]) * hidden[i];
    const double mean_square = ((sum[0] + sum[1]) + (sum[2] + sum[3])) / hidden_size;
    const float factor = 1.0F / std::sqrt(static_cast<float>(mean_square) + kNormEpsilon);
    for (i = 0; i < hidden_size; ++i)
        normalized[i] = hidden[i] * factor * norm[i];
}

// activation = silu(gate) * up; gate_up is [num_rows][2 * size], gate first
void swiglu(const float* gate_up, int num_rows, int size, float* activation) {
    for (int r = 0; r < num_rows; ++r) {
        const float* const gate = gate_up + static_cast<std::ptrdiff_t>(r) * 2 * size;
        const float* const up = gate + size;
        float* const out = activation + static_cast<std::ptrdiff_t>(r) * size;
        for (int i = 0; i < size; ++i)
            out[i] = gate[i] * sigmoid_f32(gate[i]) * up[i];
    }
}

}  // namespace

CpuBackend::CpuBackend(ThreadPool& threads)
    : threads_(threads), scratch_(static_cast<std::size_t>(threads.num_threads())) {}

std::vector<float>& CpuBackend::scratch(int thread, std::size_t size) {
    std::vector<float>& space = scratch_[static_cast<std::size_t>(thread)];
    if (space.size() < size)
        space.resize(size);
    return space;
}

void CpuBackend::route(const RouterArguments& router,
                       int num_tokens,
                       const float* hidden,
                       float* normalized,
                       std::int32_t* expert_ids,
                       float* weights) {
    const RouterSpec& spec = *router.spec;
    const auto hidden_size = static_cast<std::size_t>(router.hidden_size);
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const auto top_k = static_cast<std::size_t>(spec.top_k);
    const int num_tiles = (num_tokens + kRouterTile - 1) / kRouterTile;
    threads_.for_each(num_tiles, [&](std::int64_t tile, int thread) {
        const auto first = static_cast<std::size_t>(tile) * kRouterTile;
        const int num_rows = std::min(kRouterTile, num_tokens - static_cast<int>(first));
        const auto num_padded = static_cast<std::size_t>(whole_groups(num_rows));
        std::vector<float>& space = scratch(thread, num_padded * (hidden_size + num_experts));
        SelectionScratch selection(spec);
        float* const x = space.data();
        float* const logits = x + num_padded * hidden_size;
        for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r)
            normalize_row(hidden + (first + r) * hidden_size, router.norm, router.hidden_size,
                          x + r * hidden_size);
        std::copy_n(x, static_cast<std::size_t>(num_rows) * hidden_size,
                    normalized + first * hidden_size);
        std::fill(x + static_cast<std::size_t>(num_rows) * hidden_size, logits, 0.0F);
        multiply<RowMajor>(router.weight, x, static_cast<int>(num_padded), router.hidden_size,
                           spec.num_experts, logits);
        for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r)
            select_experts(spec, logits + r * num_experts, router.bias, selection,
                           expert_ids + (first + r) * top_k, weights + (first + r) * top_k);
    });
}

void CpuBackend::grouped_mlp(const ExpertShape& shape,
                             std::span<const float* const> slot_weights,
                             std::span<const std::int32_t> slot_begin,
                             const std::int32_t* source_rows,
                             const float* input,
                             float* output) {
    const auto hidden_size = static_cast<std::size_t>(shape.hidden_size);
    const auto intermediate_size = static_cast<std::size_t>(shape.intermediate_size);
    tiles_.clear();
    for (std::size_t slot = 0; slot < slot_weights.size(); ++slot)
        for (std::int32_t row = slot_begin[slot]; row < slot_begin[slot + 1]; row += kExpertTile)
            tiles_.push_back({static_cast<int>(slot), row,
                              std::min<int>(kExpertTile, slot_begin[slot + 1] - row)});

    threads_.for_each(
        static_cast<std::int64_t>(tiles_.size()), [&](std::int64_t index, int thread) {
            const Tile& tile = tiles_[static_cast<std::size_t>(index)];
            const float* const gate_up_weight = slot_weights[static_cast<std::size_t>(tile.slot)];
            const float* const down_weight = gate_up_weight + 2 * intermediate_size * hidden_size;
            const auto num_rows = static_cast<std::size_t>(tile.num_rows);
            const int num_padded = whole_groups(tile.num_rows);
            const auto padded = static_cast<std::size_t>(num_padded);
            std::vector<float>& space =
                scratch(thread, padded * (2 * hidden_size + 3 * intermediate_size));
            float* const x = space.data();
            float* const gate_up = x + padded * hidden_size;
            float* const activation = gate_up + padded * 2 * intermediate_size;
            float* const y = activation + padded * intermediate_size;
            for (std::size_t r = 0; r < num_rows; ++r) {
                const auto row = static_cast<std::size_t>(tile.begin) + r;
                const auto source =
                    source_rows == nullptr ? row : static_cast<std::size_t>(source_rows[row]);
                std::copy_n(input + source * hidden_size, hidden_size, x + r * hidden_size);
            }
            std::fill(x + num_rows * hidden_size, gate_up, 0.0F);
            multiply<ColumnMajor>(gate_up_weight, x, num_padded, shape.hidden_size,
                                  2 * shape.intermediate_size, gate_up);
            swiglu(gate_up, num_padded, shape.intermediate_size, activation);
            multiply<ColumnMajor>(down_weight, activation, num_padded, shape.intermediate_size,
                                  shape.hidden_size, y);
            std::copy_n(y, num_rows * hidden_size,
                        output + static_cast<std::size_t>(tile.begin) * hidden_size);
        });
}

void CpuBackend::combine(int num_tokens,
                         const std::int32_t* tokens,
                         int top_k,
                         int hidden_size,
                         const std::int32_t* rows,
                         const float* weights,
                         const float* expert_output,
                         const float* shared_output,
                         float* hidden) {
    const auto size = static_cast<std::ptrdiff_t>(hidden_size);
    constexpr int kTile = 64;
    threads_.for_each((num_tokens + kTile - 1) / kTile, [&](std::int64_t tile) {
        const std::int64_t last = std::min<std::int64_t>(num_tokens, (tile + 1) * kTile);
        for (std::int64_t i = tile * kTile; i < last; ++i) {
            float* const state = hidden + tokens[i] * size;
            const float* const weight = weights + static_cast<std::ptrdiff_t>(tokens[i]) * top_k;
            const std::int32_t* const row = rows + i * top_k;
            for (int j = 0; j < top_k; ++j) {
                const float* const y = expert_output + row[j] * size;
                for (int d = 0; d < hidden_size; ++d)
                    state[d] += weight[j] * y[d];
            }
            if (shared_output != nullptr)
                for (int d = 0; d < hidden_size; ++d)
                    state[d] += shared_output[i * size + d];
        }
    });
}

}  // namespace eplb
