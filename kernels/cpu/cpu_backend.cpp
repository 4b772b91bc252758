#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"

#include <algorithm>
#include <cmath>

#include "lib/model/select_experts.h"

namespace eplb {
namespace {

constexpr int kRowTile = 64;

// mean of squares; four sums, so that the order of additions is fixed and yet the loop vectorizes
double mean_square(const float* values, int size) {
    double sum[4] = {};
    int i = 0;
    for (; i + 4 <= size; i += 4)
        for (int lane = 0; lane < 4; ++lane)
            sum[lane] += static_cast<double>(values[i + lane]) * values[i + lane];
    for (; i < size; ++i)
        sum[0] += static_cast<double>(values[i]) * values[i];
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) / size;
}

void normalize_row(
    const float* input, const float* weight, int size, float epsilon, float* output) {
    const float factor = 1.0F / std::sqrt(static_cast<float>(mean_square(input, size)) + epsilon);
    for (int i = 0; i < size; ++i)
        output[i] = input[i] * factor * weight[i];
}

// for_each over tiles of rows: body(first row, number of rows)
template <typename Body>
void for_row_tiles(ThreadPool& threads, std::int64_t num_rows, const Body& body) {
    threads.for_each((num_rows + kRowTile - 1) / kRowTile, [&](std::int64_t tile) {
        const std::int64_t first = tile * kRowTile;
        body(first, std::min<std::int64_t>(kRowTile, num_rows - first));
    });
}

}  // namespace

CpuBackend::CpuBackend(ThreadPool& threads)
    : threads_(threads), of_thread_(static_cast<std::size_t>(threads.num_threads())) {}

float* CpuBackend::scratch(int thread, std::size_t size) {
    std::vector<float>& space = of_thread_[static_cast<std::size_t>(thread)].scratch;
    if (space.size() < size)
        space.resize(size);
    return space.data();
}

MatrixWork CpuBackend::expert_work() const {
    MatrixWork work;
    for (const Thread& thread : of_thread_)
        work += thread.expert_work;
    return work;
}

MatrixWork CpuBackend::other_work() const {
    MatrixWork work;
    for (const Thread& thread : of_thread_)
        work += thread.other_work;
    return work;
}

void CpuBackend::embed(const WeightMatrix& table,
                       std::span<const std::int32_t> token_ids,
                       float* output) {
    for_row_tiles(threads_, static_cast<std::int64_t>(token_ids.size()),
                  [&](std::int64_t first, std::int64_t count) {
                      for (std::int64_t i = first; i < first + count; ++i)
                          decode_row(table, token_ids[static_cast<std::size_t>(i)], 0,
                                     table.num_columns, output + i * table.num_columns);
                  });
}

void CpuBackend::rms_norm(const NormArguments& norm,
                          std::int64_t num_rows,
                          const float* input,
                          float* output) {
    for_row_tiles(threads_, num_rows, [&](std::int64_t first, std::int64_t count) {
        for (std::int64_t row = first; row < first + count; ++row)
            normalize_row(input + row * norm.input_stride, norm.weight, norm.size, norm.epsilon,
                          output + row * norm.output_stride);
    });
}

void CpuBackend::clamp(float limit, std::int64_t num_values, float* values) {
    constexpr std::int64_t kValues = 1 << 16;
    threads_.for_each((num_values + kValues - 1) / kValues, [&](std::int64_t part) {
        const std::int64_t last = std::min(num_values, (part + 1) * kValues);
        for (std::int64_t i = part * kValues; i < last; ++i)
            values[i] = std::min(std::max(values[i], -limit), limit);
    });
}

void CpuBackend::rotate(const RotaryArguments& rotary,
                        std::span<const std::int32_t> positions,
                        float* values) {
    const int num_pairs = rotary.rotary_size / 2;
    const int step = rotary.interleaved ? 2 : 1;
    const int distance = rotary.interleaved ? 1 : num_pairs;
    for_row_tiles(
        threads_, static_cast<std::int64_t>(positions.size()),
        [&](std::int64_t first, std::int64_t count) {
            std::vector<float> cosine(static_cast<std::size_t>(num_pairs));
            std::vector<float> sine(cosine.size());
            for (std::int64_t row = first; row < first + count; ++row) {
                const auto position = static_cast<float>(positions[static_cast<std::size_t>(row)]);
                for (int pair = 0; pair < num_pairs; ++pair) {
                    const double angle = position * rotary.frequencies[pair];
                    cosine[static_cast<std::size_t>(pair)] =
                        static_cast<float>(std::cos(angle)) * rotary.factor;
                    sine[static_cast<std::size_t>(pair)] =
                        static_cast<float>(std::sin(angle)) * rotary.factor;
                }
                for (int head = 0; head < rotary.num_heads; ++head) {
                    float* const part = values + row * rotary.row_stride +
                                        std::int64_t{head} * rotary.head_stride + rotary.offset;
                    for (int pair = 0; pair < num_pairs; ++pair) {
                        float& a = part[pair * step];
                        float& b = part[pair * step + distance];
                        const float c = cosine[static_cast<std::size_t>(pair)];
                        const float s = sine[static_cast<std::size_t>(pair)];
                        const float rotated = a * c - b * s;
                        b = b * c + a * s;
                        a = rotated;
                    }
                }
            }
        });
}

void CpuBackend::route(const RouterArguments& router,
                       int num_tokens,
                       const float* hidden,
                       float* normalized,
                       std::int32_t* expert_ids,
                       float* weights,
                       float* margins) {
    const RouterSpec& spec = *router.spec;
    const auto hidden_size = static_cast<std::size_t>(router.hidden_size);
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const auto top_k = static_cast<std::size_t>(spec.top_k);
    threads_.for_each((num_tokens + kRowTile - 1) / kRowTile, [&](std::int64_t tile, int thread) {
        const auto first = static_cast<std::size_t>(tile) * kRowTile;
        const int num_rows = std::min(kRowTile, num_tokens - static_cast<int>(first));
        const auto num_padded = static_cast<std::size_t>(whole_groups(num_rows));
        SelectionScratch selection(spec);
        float* const x = scratch(thread, num_padded * (hidden_size + num_experts));
        float* const logits = x + num_padded * hidden_size;
        for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r)
            normalize_row(hidden + (first + r) * hidden_size, router.norm, router.hidden_size,
                          router.epsilon, x + r * hidden_size);
        std::copy_n(x, static_cast<std::size_t>(num_rows) * hidden_size,
                    normalized + first * hidden_size);
        std::fill(x + static_cast<std::size_t>(num_rows) * hidden_size, logits, 0.0F);
        {
            const MatrixTimer timer(of_thread_[static_cast<std::size_t>(thread)].other_work,
                                    2.0 * num_rows * router.hidden_size * spec.num_experts);
            multiply(router.weight, x, static_cast<int>(num_padded), router.hidden_size,
                     spec.num_experts, logits);
        }
        for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r) {
            float* const row = logits + r * num_experts;
            if (router.logit_bias != nullptr)
                for (std::size_t e = 0; e < num_experts; ++e)
                    row[e] += router.logit_bias[e];
            select_experts(spec, row, router.bias, selection, expert_ids + (first + r) * top_k,
                           weights + (first + r) * top_k,
                           margins == nullptr ? nullptr : margins + first + r);
        }
    });
}

void CpuBackend::combine(std::span<const std::int32_t> tokens,
                         const CombineArguments& arguments,
                         float* hidden) {
    const std::ptrdiff_t size = arguments.hidden_size;
    const std::ptrdiff_t top_k = arguments.top_k;
    for_row_tiles(threads_, static_cast<std::int64_t>(tokens.size()),
                  [&](std::int64_t first, std::int64_t count) {
                      for (std::int64_t i = first; i < first + count; ++i) {
                          const std::int32_t token = tokens[static_cast<std::size_t>(i)];
                          float* const state = hidden + token * size;
                          for (std::ptrdiff_t j = 0; j < top_k; ++j) {
                              const float weight = arguments.weights[token * top_k + j];
                              const float* const y =
                                  arguments.expert_output + arguments.rows[i * top_k + j] * size;
                              for (std::ptrdiff_t d = 0; d < size; ++d)
                                  state[d] += weight * y[d];
                          }
                          if (arguments.shared_output == nullptr)
                              continue;
                          const float gate = arguments.shared_gate == nullptr
                                                 ? 1.0F
                                                 : sigmoid_f32(arguments.shared_gate[i]);
                          for (std::ptrdiff_t d = 0; d < size; ++d)
                              state[d] += gate * arguments.shared_output[i * size + d];
                      }
                  });
}

}  // namespace eplb
