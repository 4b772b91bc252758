#include <algorithm>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"

namespace eplb {
void CpuBackend::linear(const WeightMatrix& weight,
                        const float* bias,
                        int num_tokens,
                        const float* input,
                        float* output,
                        bool add) {
    constexpr int kTokenTile = 512;
    const int num_inputs = weight.num_columns;
    const int num_outputs = weight.num_rows;
    const int panel = panel_rows(weight);
    const int num_panels = (num_outputs + panel - 1) / panel;
    const int num_tiles = (num_tokens + kTokenTile - 1) / kTokenTile;
    const std::int64_t num_tasks = std::int64_t{num_panels} * num_tiles;
    threads_.for_each(num_tasks, [&](std::int64_t task, int thread) {
        const int first_output = static_cast<int>(task / num_tiles) * panel;
        const int first_token = static_cast<int>(task % num_tiles) * kTokenTile;
        const int outputs = std::min(panel, num_outputs - first_output);
        const int tokens = std::min(kTokenTile, num_tokens - first_token);
        const int whole = tokens / kColumnGroup * kColumnGroup;
        const auto inputs = static_cast<std::size_t>(num_inputs);
        const auto columns = static_cast<std::size_t>(outputs);
        // the panel, a last group of tokens filled up with zeros, and the results
        float* const panel_space =
            scratch(thread, columns * inputs + kColumnGroup * inputs +
                                columns * static_cast<std::size_t>(whole_groups(tokens)));
        float* const tail = panel_space + columns * inputs;
        float* const result = tail + kColumnGroup * inputs;
        const float* const w = decoded(weight, first_output, outputs, panel_space);
        const float* const x = input + static_cast<std::size_t>(first_token) * inputs;
        {
            const MatrixTimer timer(of_thread_[thread].other_work,
                                    2.0 * tokens * num_inputs * outputs);
            if (whole > 0)
                multiply(w, x, whole, num_inputs, outputs, result);
            if (whole < tokens) {
                const std::size_t left = static_cast<std::size_t>(tokens - whole) * inputs;
                std::copy_n(x + static_cast<std::size_t>(whole) * inputs, left, tail);
                std::fill(tail + left, result, 0.0F);
                multiply(w, tail, kColumnGroup, num_inputs, outputs,
                         result + static_cast<std::size_t>(whole) * columns);
            }
        }
        for (std::ptrdiff_t token = 0; token < tokens; ++token) {
            const float* const from = result + token * outputs;
            float* const to = output + (first_token + token) * num_outputs + first_output;
            for (int i = 0; i < outputs; ++i) {
                const float value = from[i] + (bias == nullptr ? 0.0F : bias[first_output + i]);
                to[i] = add ? to[i] + value : value;
            }
        }
    });
}

}  // namespace eplb
