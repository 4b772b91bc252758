#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <cstring>
#include <new>
#include <numeric>
#include <string>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/model/select_experts.h"

namespace eplb {
namespace {

constexpr int kRowTile = 64;
constexpr std::size_t kAlignment = 256;

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

// for_each over parts of values: body(begin, end)
template <typename Body>
void for_parts(ThreadPool& threads, std::int64_t num_values, const Body& body) {
    constexpr std::int64_t kValues = 1 << 16;
    threads.for_each((num_values + kValues - 1) / kValues, [&](std::int64_t part) {
        body(part * kValues, std::min(num_values, (part + 1) * kValues));
    });
}

// an empty part may have no address
void copy_bytes(const void* from, std::size_t num_bytes, void* to) {
    if (num_bytes > 0)
        std::memcpy(to, from, num_bytes);
}

}  // namespace

CpuBackend::CpuBackend(ThreadPool& threads)
    : threads_(threads), of_thread_(static_cast<std::size_t>(threads.num_threads())) {}

float* CpuBackend::scratch(int thread, std::size_t size) {
    std::vector<float>& space = of_thread_[thread].scratch;
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

void* CpuBackend::allocate(std::size_t num_bytes) {
    void* const memory = ::operator new(num_bytes, std::align_val_t(kAlignment), std::nothrow);
    if (memory == nullptr)
        throw Error("memory: cannot allocate " + std::to_string(num_bytes) + " bytes; lower " +
                    setting("max_num_tokens") + " or run on a machine with more memory");
    return memory;
}

void CpuBackend::release(void* memory) noexcept {
    ::operator delete(memory, std::align_val_t(kAlignment));
}

void CpuBackend::upload(const void* host, std::size_t num_bytes, void* memory) {
    copy_bytes(host, num_bytes, memory);
}

void CpuBackend::download(const void* memory, std::size_t num_bytes, void* host) {
    copy_bytes(memory, num_bytes, host);
}

void CpuBackend::begin_stage(int stage) {
    const auto now = std::chrono::steady_clock::now();
    if (stage_ >= 0)
        stage_seconds_[stage_] += std::chrono::duration<double>(now - stage_start_).count();
    stage_seconds_.resize(std::max(stage_seconds_.size(), static_cast<std::size_t>(stage) + 1));
    stage_ = stage;
    stage_start_ = now;
}

std::vector<double> CpuBackend::stage_seconds() {
    if (stage_ >= 0)
        begin_stage(stage_);
    return stage_seconds_;
}

void CpuBackend::copy_rows(const CopyArguments& copy, const float* from, float* to) {
    for_row_tiles(threads_, copy.num_rows, [&](std::int64_t first, std::int64_t count) {
        for (std::int64_t row = first; row < first + count; ++row)
            for (std::int64_t i = 0; i < copy.num_copies; ++i)
                std::copy_n(from + row * copy.from_stride, copy.size,
                            to + row * copy.to_stride + i * copy.copy_stride);
    });
}

void CpuBackend::gather_rows(const std::int32_t* source_rows,
                             std::int64_t num_rows,
                             std::size_t row_bytes,
                             const void* from,
                             void* to) {
    for_row_tiles(threads_, num_rows, [&](std::int64_t first, std::int64_t count) {
        for (std::int64_t row = first; row < first + count; ++row)
            std::memcpy(static_cast<std::byte*>(to) + static_cast<std::size_t>(row) * row_bytes,
                        static_cast<const std::byte*>(from) +
                            static_cast<std::size_t>(source_rows[row]) * row_bytes,
                        row_bytes);
    });
}

bool CpuBackend::all_finite(const float* values, std::int64_t num_values) {
    std::atomic<bool> finite = true;
    for_parts(threads_, num_values, [&](std::int64_t begin, std::int64_t end) {
        if (!std::all_of(values + begin, values + end, [](float v) { return std::isfinite(v); }))
            finite = false;
    });
    return finite;
}

void CpuBackend::embed(const WeightMatrix& table,
                       std::span<const std::int32_t> token_ids,
                       float* output) {
    for_row_tiles(threads_, static_cast<std::int64_t>(token_ids.size()),
                  [&](std::int64_t first, std::int64_t count) {
                      for (std::int64_t i = first; i < first + count; ++i)
                          decode_row(table, token_ids[i], 0, table.num_columns,
                                     output + i * table.num_columns);
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
    for_parts(threads_, num_values, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
            values[i] = std::min(std::max(values[i], -limit), limit);
    });
}

void CpuBackend::rotate(const RotaryArguments& rotary,
                        std::span<const std::int32_t> positions,
                        float* values) {
    const int num_pairs = rotary.rotary_size / 2;
    const int step = rotary.interleaved ? 2 : 1;
    const int distance = rotary.interleaved ? 1 : num_pairs;
    for_row_tiles(threads_, static_cast<std::int64_t>(positions.size()),
                  [&](std::int64_t first, std::int64_t count) {
                      std::vector<float> cosine(num_pairs);
                      std::vector<float> sine(cosine.size());
                      for (std::int64_t row = first; row < first + count; ++row) {
                          const auto position = static_cast<float>(positions[row]);
                          for (int pair = 0; pair < num_pairs; ++pair) {
                              const double angle = position * rotary.frequencies[pair];
                              cosine[pair] = static_cast<float>(std::cos(angle)) * rotary.factor;
                              sine[pair] = static_cast<float>(std::sin(angle)) * rotary.factor;
                          }
                          for (int head = 0; head < rotary.num_heads; ++head) {
                              float* const part = values + row * rotary.row_stride +
                                                  std::int64_t{head} * rotary.head_stride +
                                                  rotary.offset;
                              for (int pair = 0; pair < num_pairs; ++pair) {
                                  float& a = part[pair * step];
                                  float& b = part[pair * step + distance];
                                  const float c = cosine[pair];
                                  const float s = sine[pair];
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
                       const RoutedTokens& routed) {
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
                    routed.normalized + first * hidden_size);
        std::fill(x + static_cast<std::size_t>(num_rows) * hidden_size, logits, 0.0F);
        {
            const MatrixTimer timer(of_thread_[thread].other_work,
                                    2.0 * num_rows * router.hidden_size * spec.num_experts);
            multiply(router.weight, x, static_cast<int>(num_padded), router.hidden_size,
                     spec.num_experts, logits);
        }
        for (std::size_t r = 0; r < static_cast<std::size_t>(num_rows); ++r) {
            float* const row = logits + r * num_experts;
            if (router.logit_bias != nullptr)
                for (std::size_t e = 0; e < num_experts; ++e)
                    row[e] += router.logit_bias[e];
            select_experts(spec, row, router.bias, selection,
                           routed.expert_ids + (first + r) * top_k,
                           routed.weights + (first + r) * top_k,
                           routed.margins == nullptr ? nullptr : routed.margins + first + r);
        }
    });
}

void CpuBackend::plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& plan) {
    // a stable counting sort by place
    const std::int64_t num_pairs = std::int64_t{dispatch.num_tokens} * dispatch.top_k;
    std::fill_n(plan.place_begin, dispatch.num_places + 1, 0);
    for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
        const std::int32_t place = dispatch.place_ids[pair] - dispatch.first_place;
        assert(place >= 0 && place < dispatch.num_places);
        ++plan.place_begin[place + 1];
    }
    std::partial_sum(plan.place_begin, plan.place_begin + dispatch.num_places + 1,
                     plan.place_begin);
    std::vector<std::int32_t> next(plan.place_begin, plan.place_begin + dispatch.num_places);
    for (std::int64_t pair = 0; pair < num_pairs; ++pair) {
        const std::int32_t id = dispatch.place_ids[pair];
        const std::int32_t row = next[id - dispatch.first_place]++;
        plan.rows[pair] = row;
        plan.source_rows[row] = static_cast<std::int32_t>(pair / dispatch.top_k);
        if (plan.row_places != nullptr)
            plan.row_places[row] = id;
    }
}

void CpuBackend::combine(int num_tokens, const CombineArguments& arguments, float* hidden) {
    const std::ptrdiff_t size = arguments.hidden_size;
    const std::ptrdiff_t top_k = arguments.top_k;
    for_row_tiles(threads_, num_tokens, [&](std::int64_t first, std::int64_t count) {
        for (std::int64_t token = first; token < first + count; ++token) {
            float* const state = hidden + token * size;
            for (std::ptrdiff_t j = 0; j < top_k; ++j) {
                const float weight = arguments.weights[token * top_k + j];
                const float* const y =
                    arguments.expert_output + arguments.rows[token * top_k + j] * size;
                for (std::ptrdiff_t d = 0; d < size; ++d)
                    state[d] += weight * y[d];
            }
            if (arguments.shared_output == nullptr)
                continue;
            const float gate =
                arguments.shared_gate == nullptr ? 1.0F : sigmoid_f32(arguments.shared_gate[token]);
            for (std::ptrdiff_t d = 0; d < size; ++d)
                state[d] += gate * arguments.shared_output[token * size + d];
        }
    });
}

}  // namespace eplb
