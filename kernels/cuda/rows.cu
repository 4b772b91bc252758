#include <cmath>

#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"
#include "lib/model/activation.h"

// Kernels that compute value by value, and rows one by one.
namespace eplb::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

// Threads go through values in steps of all of them.
dim3 value_grid(std::int64_t num_values) {
    constexpr std::int64_t kMostBlocks = 4096;
    const std::int64_t needed = ceil_div(num_values, kThreads);
    return dim3(static_cast<unsigned>(needed < kMostBlocks ? needed : kMostBlocks));
}

template <typename Body>
__device__ void for_values(std::int64_t num_values, const Body& body) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
         i < num_values; i += step)
        body(i);
}

__global__ void __launch_bounds__(kRowThreads)
    copy_rows_kernel(Backend::CopyArguments copy, const float* from, float* to) {
    for_row_values(copy.num_rows, copy.size, [&](std::int64_t row, int i) {
        const float value = from[row * copy.from_stride + i];
        for (std::int64_t c = 0; c < copy.num_copies; ++c)
            to[row * copy.to_stride + c * copy.copy_stride + i] = value;
    });
}

__global__ void __launch_bounds__(kRowThreads) gather_rows_kernel(const std::int32_t* source_rows,
                                                                  std::int64_t num_rows,
                                                                  int row_words,
                                                                  const std::uint32_t* from,
                                                                  std::uint32_t* to) {
    for_row_values(num_rows, row_words, [&](std::int64_t row, int i) {
        to[row * row_words + i] = from[static_cast<std::int64_t>(source_rows[row]) * row_words + i];
    });
}

__global__ void __launch_bounds__(kThreads)
    find_non_finite_kernel(const float* values, std::int64_t num_values, std::int32_t* found) {
    bool any = false;
    for_values(num_values, [&](std::int64_t i) {
        constexpr std::uint32_t kExponent = 0x7f800000U;
        any = any || (std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent;
    });
    if (any)
        atomicAdd(found, 1);
}

__global__ void __launch_bounds__(kThreads)
    clamp_kernel(float limit, std::int64_t num_values, float* values) {
    for_values(num_values, [&](std::int64_t i) {
        const float value = values[i];
        values[i] = value < -limit ? -limit : limit < value ? limit : value;
    });
}

__global__ void __launch_bounds__(kRowThreads)
    convert_to_bf16_kernel(const std::int32_t* source_rows,
                           std::int64_t num_rows,
                           int size,
                           std::int64_t from_stride,
                           const float* from,
                           std::uint16_t* to) {
    for_row_values(num_rows, size, [&](std::int64_t row, int i) {
        const std::int64_t source = source_rows == nullptr ? row : source_rows[row];
        to[row * size + i] = encode_bf16(from[source * from_stride + i]);
    });
}

__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(Backend::NormArguments norm, const float* input, float* output) {
    __shared__ double sums[kWarps];
    const float* const from = input + static_cast<std::int64_t>(blockIdx.x) * norm.input_stride;
    float* const to = output + static_cast<std::int64_t>(blockIdx.x) * norm.output_stride;
    const int thread = static_cast<int>(threadIdx.x);
    double sum = 0;
    for (int i = thread; i < norm.size; i += kThreads)
        sum += static_cast<double>(from[i]) * from[i];
    for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2)
        sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    if (thread % kWarpSize == 0)
        sums[thread / kWarpSize] = sum;
    __syncthreads();
    sum = 0;
    for (int warp = 0; warp < kWarps; ++warp)
        sum += sums[warp];
    const float factor = 1.0F / std::sqrt(static_cast<float>(sum / norm.size) + norm.epsilon);
    for (int i = thread; i < norm.size; i += kThreads)
        to[i] = from[i] * factor * norm.weight[i];
}

__global__ void __launch_bounds__(kRowThreads) rotate_kernel(Backend::RotaryArguments rotary,
                                                             const std::int32_t* positions,
                                                             std::int64_t num_rows,
                                                             float* values) {
    const int num_pairs = rotary.rotary_size / 2;
    const int step = rotary.interleaved ? 2 : 1;
    const int distance = rotary.interleaved ? 1 : num_pairs;
    for_row_values(num_rows, num_pairs, [&](std::int64_t row, int pair) {
        const double angle = static_cast<float>(positions[row]) * rotary.frequencies[pair];
        const float c = static_cast<float>(std::cos(angle)) * rotary.factor;
        const float s = static_cast<float>(std::sin(angle)) * rotary.factor;
        float* const first = values + row * rotary.row_stride + rotary.offset + pair * step;
        for (std::int64_t head = 0; head < rotary.num_heads; ++head) {
            float& a = first[head * rotary.head_stride];
            float& b = first[head * rotary.head_stride + distance];
            const float rotated = a * c - b * s;
            b = b * c + a * s;
            a = rotated;
        }
    });
}

__global__ void __launch_bounds__(kRowThreads) add_bias_kernel(
    const float* bias, std::int64_t num_rows, int size, std::int64_t row_stride, float* values) {
    for_row_values(num_rows, size,
                   [&](std::int64_t row, int i) { values[row * row_stride + i] += bias[i]; });
}

template <typename Output>
__global__ void __launch_bounds__(kRowThreads) activate_kernel(ActivationArguments arguments,
                                                               std::int64_t num_rows,
                                                               const float* gate,
                                                               const float* up,
                                                               Output* output) {
    for_row_values(num_rows, arguments.width, [&](std::int64_t row, int i) {
        float g = gate[row * arguments.input_stride + i];
        float u = up[row * arguments.input_stride + i];
        if (arguments.gate_bias != nullptr)
            g += arguments.gate_bias[i];
        if (arguments.up_bias != nullptr)
            u += arguments.up_bias[i];
        store(arguments.activation == Activation::swiglu
                  ? swiglu_f32(g, u)
                  : clamped_swiglu_f32(g, u, arguments.limit),
              output + row * arguments.width + i);
    });
}

template <typename Output>
void launch_activate(const ActivationArguments& arguments,
                     std::int64_t num_rows,
                     const float* gate,
                     const float* up,
                     Output* output,
                     cudaStream_t stream) {
    if (num_rows > 0)
        launch("activate", activate_kernel<Output>, row_grid(num_rows, arguments.width),
               kRowThreads, 0, stream, arguments, num_rows, gate, up, output);
}

__global__ void __launch_bounds__(kRowThreads)
    combine_kernel(int num_tokens, Backend::CombineArguments arguments, float* hidden) {
    const std::int64_t size = arguments.hidden_size;
    const std::int64_t top_k = arguments.top_k;
    for_row_values(num_tokens, arguments.hidden_size, [&](std::int64_t token, int d) {
        float state = hidden[token * size + d];
        for (std::int64_t j = 0; j < top_k; ++j)
            state += arguments.weights[token * top_k + j] *
                     arguments.expert_output[arguments.rows[token * top_k + j] * size + d];
        if (arguments.shared_output != nullptr) {
            const float gate =
                arguments.shared_gate == nullptr ? 1.0F : sigmoid_f32(arguments.shared_gate[token]);
            state += gate * arguments.shared_output[token * size + d];
        }
        hidden[token * size + d] = state;
    });
}

}  // namespace

void copy_rows(const Backend::CopyArguments& copy,
               const float* from,
               float* to,
               cudaStream_t stream) {
    if (copy.num_rows > 0 && copy.size > 0)
        launch("copy_rows", copy_rows_kernel, row_grid(copy.num_rows, copy.size), kRowThreads, 0,
               stream, copy, from, to);
}

void gather_rows(const std::int32_t* source_rows,
                 std::int64_t num_rows,
                 std::size_t row_bytes,
                 const void* from,
                 void* to,
                 cudaStream_t stream) {
    const auto row_words = static_cast<int>(row_bytes / sizeof(std::uint32_t));
    if (num_rows > 0 && row_words > 0)
        launch("gather_rows", gather_rows_kernel, row_grid(num_rows, row_words), kRowThreads, 0,
               stream, source_rows, num_rows, row_words, static_cast<const std::uint32_t*>(from),
               static_cast<std::uint32_t*>(to));
}

void find_non_finite(const float* values,
                     std::int64_t num_values,
                     std::int32_t* found,
                     cudaStream_t stream) {
    if (num_values > 0)
        launch("find_non_finite", find_non_finite_kernel, value_grid(num_values), kThreads, 0,
               stream, values, num_values, found);
}

void clamp(float limit, std::int64_t num_values, float* values, cudaStream_t stream) {
    if (num_values > 0)
        launch("clamp", clamp_kernel, value_grid(num_values), kThreads, 0, stream, limit,
               num_values, values);
}

void convert_to_bf16(const std::int32_t* source_rows,
                     std::int64_t num_rows,
                     int size,
                     std::int64_t from_stride,
                     const float* from,
                     std::uint16_t* to,
                     cudaStream_t stream) {
    if (num_rows > 0 && size > 0)
        launch("convert_to_bf16", convert_to_bf16_kernel, row_grid(num_rows, size), kRowThreads, 0,
               stream, source_rows, num_rows, size, from_stride, from, to);
}

void rms_norm(const Backend::NormArguments& norm,
              std::int64_t num_rows,
              const float* input,
              float* output,
              cudaStream_t stream) {
    if (num_rows > 0)
        launch("rms_norm", rms_norm_kernel, dim3(static_cast<unsigned>(num_rows)), kThreads, 0,
               stream, norm, input, output);
}

void rotate(const Backend::RotaryArguments& rotary,
            const std::int32_t* positions,
            std::int64_t num_rows,
            float* values,
            cudaStream_t stream) {
    if (num_rows > 0 && rotary.rotary_size > 1)
        launch("rotate", rotate_kernel, row_grid(num_rows, rotary.rotary_size / 2), kRowThreads, 0,
               stream, rotary, positions, num_rows, values);
}

void add_bias(const float* bias,
              std::int64_t num_rows,
              int size,
              std::int64_t row_stride,
              float* values,
              cudaStream_t stream) {
    if (bias != nullptr && num_rows > 0 && size > 0)
        launch("add_bias", add_bias_kernel, row_grid(num_rows, size), kRowThreads, 0, stream, bias,
               num_rows, size, row_stride, values);
}

void activate(const ActivationArguments& arguments,
              std::int64_t num_rows,
              const float* gate,
              const float* up,
              float* output,
              cudaStream_t stream) {
    launch_activate(arguments, num_rows, gate, up, output, stream);
}

void activate(const ActivationArguments& arguments,
              std::int64_t num_rows,
              const float* gate,
              const float* up,
              std::uint16_t* output,
              cudaStream_t stream) {
    launch_activate(arguments, num_rows, gate, up, output, stream);
}

void combine(int num_tokens,
             const Backend::CombineArguments& arguments,
             float* hidden,
             cudaStream_t stream) {
    if (num_tokens > 0)
        launch("combine", combine_kernel, row_grid(num_tokens, arguments.hidden_size), kRowThreads,
               0, stream, num_tokens, arguments, hidden);
}

}  // namespace eplb::cuda
