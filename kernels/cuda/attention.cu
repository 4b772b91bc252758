#include <limits>

#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"
#include "lib/base/setting.h"
#include "lib/model/router_math.h"

// Causal attention in fp32, a block per head and tile of queries, with the softmax kept up from one
// block of keys to the next.
namespace eplb::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 16;                // threads that share rows
constexpr int kRows = kThreads / kColumns;  // and those that share columns
constexpr int kKeys = 64;                   // of a block
constexpr int kKeysPerThread = kKeys / kColumns;
constexpr int kKeyPart = 32;    // values of keys and queries that are held at once
constexpr int kValuePart = 64;  // columns of values
constexpr int kColumnsPerPart = kValuePart / kColumns;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

// Kernels take so many pieces as an argument: nothing has to be uploaded.
constexpr int kMostPieces = 64;
struct Pieces {
    Backend::AttentionPiece piece[kMostPieces];
};

__device__ float multiply_add(float a, float b, float c) {
    return __fmaf_rn(a, b, c);  // sums of products need not have the CPU's bits
}

// Rows [first, first + num_rows) and columns [column, column + kWidth) of a matrix into shared
// memory, filled up with zeros; rows of `to` are kStride apart.
template <int kWidth, int kStride>
__device__ void load_tile(const float* from,
                          std::int64_t row_stride,
                          int tile_rows,
                          int num_rows,
                          int column,
                          int num_columns,
                          float* to) {
    for (int i = static_cast<int>(threadIdx.x); i < tile_rows * kWidth; i += kThreads) {
        const int row = i / kWidth;
        const int c = i % kWidth;
        to[row * kStride + c] =
            row < num_rows && column + c < num_columns ? from[row * row_stride + column + c] : 0.0F;
    }
}

// Thread (row, column) has the queries row + kRows i of the tile, of each the keys column +
// kColumns j of a block, and columns column + kColumns j of the values.
template <int kQueriesPerThread, int kValueParts>
__global__ void __launch_bounds__(kThreads)
    attention_kernel(Backend::AttentionArguments arguments, Pieces pieces) {
    constexpr int kQueries = kRows * kQueriesPerThread;
    constexpr int kPartStride = kKeyPart + 1;  // no two rows in one bank
    constexpr int kWeightStride = kKeys + 1;
    // queries and keys; then values
    __shared__ float part[std::max((kQueries + kKeys) * kPartStride, kKeys * kValuePart)];
    __shared__ float weights[kQueries * kWeightStride];
    float* const query_part = part;
    float* const key_part = part + kQueries * kPartStride;

    const Backend::AttentionPiece& piece = pieces.piece[blockIdx.z];
    const int first_query = static_cast<int>(blockIdx.x) * kQueries;
    if (first_query >= piece.num_queries)
        return;
    const int num_queries = std::min(kQueries, piece.num_queries - first_query);
    const int head = static_cast<int>(blockIdx.y);
    const int kv_head = head / (arguments.num_heads / arguments.num_kv_heads);
    const int key_size = arguments.key_size;
    const int value_size = arguments.value_size;
    const std::int64_t query_stride = static_cast<std::int64_t>(arguments.num_heads) * key_size;
    const std::int64_t output_stride = static_cast<std::int64_t>(arguments.num_heads) * value_size;
    const std::int64_t key_stride = static_cast<std::int64_t>(arguments.num_kv_heads) * key_size;
    const std::int64_t value_stride =
        static_cast<std::int64_t>(arguments.num_kv_heads) * value_size;
    const float* const queries = piece.queries + first_query * query_stride + head * key_size;
    const float* const keys = piece.keys + kv_head * key_size;
    const float* const values = piece.values + kv_head * value_size;
    const int row = static_cast<int>(threadIdx.x) / kColumns;
    const int column = static_cast<int>(threadIdx.x) % kColumns;
    const int first_position = piece.first_position + first_query;
    const auto first_visible = [&](int position) {
        return arguments.sliding_window == 0 ? 0
                                             : std::max(0, position - arguments.sliding_window + 1);
    };

    // a sink takes part like a key without a value
    float maxima[kQueriesPerThread];
    float totals[kQueriesPerThread];
    float sums[kQueriesPerThread][kValueParts * kColumnsPerPart];
#pragma unroll
    for (int i = 0; i < kQueriesPerThread; ++i) {
        maxima[i] = arguments.sinks == nullptr ? kNothing : arguments.sinks[head];
        totals[i] = arguments.sinks == nullptr ? 0.0F : 1.0F;
#pragma unroll
        for (int j = 0; j < kValueParts * kColumnsPerPart; ++j)
            sums[i][j] = 0;
    }

    const int end = first_position + num_queries;  // of the keys that are seen
    for (int begin = first_visible(first_position) / kKeys * kKeys; begin < end; begin += kKeys) {
        const int num_keys = end - begin < kKeys ? end - begin : kKeys;
        float scores[kQueriesPerThread][kKeysPerThread] = {};
        for (int first = 0; first < key_size; first += kKeyPart) {
            __syncthreads();
            load_tile<kKeyPart, kPartStride>(queries, query_stride, kQueries, num_queries, first,
                                             key_size, query_part);
            load_tile<kKeyPart, kPartStride>(keys + begin * key_stride, key_stride, kKeys, num_keys,
                                             first, key_size, key_part);
            __syncthreads();
#pragma unroll 8
            for (int d = 0; d < kKeyPart; ++d) {
                float q[kQueriesPerThread];
#pragma unroll
                for (int i = 0; i < kQueriesPerThread; ++i)
                    q[i] = query_part[(row + kRows * i) * kPartStride + d];
#pragma unroll
                for (int j = 0; j < kKeysPerThread; ++j) {
                    const float k = key_part[(column + kColumns * j) * kPartStride + d];
#pragma unroll
                    for (int i = 0; i < kQueriesPerThread; ++i)
                        scores[i][j] = multiply_add(q[i], k, scores[i][j]);
                }
            }
        }

        // Scores become weights, and what was summed so far is scaled to the new maximum.
#pragma unroll
        for (int i = 0; i < kQueriesPerThread; ++i) {
            const int query = row + kRows * i;
            const int position = query < num_queries ? first_position + query : -1;
            bool visible[kKeysPerThread];
            float maximum = maxima[i];
#pragma unroll
            for (int j = 0; j < kKeysPerThread; ++j) {
                const int key = begin + column + kColumns * j;
                visible[j] = key <= position && key >= first_visible(position);
                scores[i][j] *= arguments.scale;
                if (visible[j])
                    maximum = std::max(maximum, scores[i][j]);
            }
            for (int lanes = kColumns / 2; lanes > 0; lanes /= 2)
                maximum = std::max(maximum, __shfl_xor_sync(kAllLanes, maximum, lanes));
            float total = 0;
#pragma unroll
            for (int j = 0; j < kKeysPerThread; ++j) {
                const float weight = visible[j] ? exp_f32(scores[i][j] - maximum) : 0.0F;
                weights[query * kWeightStride + column + kColumns * j] = weight;
                total += weight;
            }
            for (int lanes = kColumns / 2; lanes > 0; lanes /= 2)
                total += __shfl_xor_sync(kAllLanes, total, lanes);
            const float factor = maxima[i] == kNothing ? 0.0F : exp_f32(maxima[i] - maximum);
            totals[i] = totals[i] * factor + total;
            maxima[i] = maximum;
#pragma unroll
            for (int j = 0; j < kValueParts * kColumnsPerPart; ++j)
                sums[i][j] *= factor;
        }

#pragma unroll
        for (int p = 0; p < kValueParts; ++p) {
            if (p * kValuePart >= value_size)
                break;
            __syncthreads();
            load_tile<kValuePart, kValuePart>(values + begin * value_stride, value_stride, kKeys,
                                              num_keys, p * kValuePart, value_size, part);
            __syncthreads();
#pragma unroll 8
            for (int key = 0; key < kKeys; ++key) {
                float w[kQueriesPerThread];
#pragma unroll
                for (int i = 0; i < kQueriesPerThread; ++i)
                    w[i] = weights[(row + kRows * i) * kWeightStride + key];
#pragma unroll
                for (int j = 0; j < kColumnsPerPart; ++j) {
                    const float value = part[key * kValuePart + column + kColumns * j];
#pragma unroll
                    for (int i = 0; i < kQueriesPerThread; ++i)
                        sums[i][p * kColumnsPerPart + j] =
                            multiply_add(w[i], value, sums[i][p * kColumnsPerPart + j]);
                }
            }
        }
    }

    float* const output = piece.output + first_query * output_stride + head * value_size;
#pragma unroll
    for (int i = 0; i < kQueriesPerThread; ++i)
#pragma unroll
        for (int j = 0; j < kValueParts * kColumnsPerPart; ++j) {
            const int query = row + kRows * i;
            const int c = column + kColumns * j;
            if (query < num_queries && c < value_size)
                output[query * output_stride + c] = sums[i][j] / totals[i];
        }
}

}  // namespace

void attention(const Backend::AttentionArguments& attention,
               std::span<const Backend::AttentionPiece> pieces,
               cudaStream_t stream) {
    if (attention.value_size > kMostValueSize)
        throw Error("attention: a GPU takes values of at most " + std::to_string(kMostValueSize) +
                    " per head; use " + setting("backend") + " cpu");
    for (std::size_t first = 0; first < pieces.size(); first += kMostPieces) {
        const auto some =
            pieces.subspan(first, std::min<std::size_t>(kMostPieces, pieces.size() - first));
        Pieces batch = {};
        std::copy(some.begin(), some.end(), batch.piece);
        int most_queries = 0;
        for (const Backend::AttentionPiece& piece : some)
            most_queries = std::max(most_queries, piece.num_queries);
        if (most_queries == 0)
            continue;
        const auto with = [&](auto kernel, int tile_queries) {
            launch("attention", kernel,
                   dim3(static_cast<unsigned>(ceil_div(most_queries, tile_queries)),
                        static_cast<unsigned>(attention.num_heads),
                        static_cast<unsigned>(some.size())),
                   kThreads, 0, stream, attention, batch);
        };
        if (attention.value_size <= 2 * kValuePart)
            with(attention_kernel<4, 2>, 4 * kRows);
        else if (attention.value_size <= 4 * kValuePart)
            with(attention_kernel<4, 4>, 4 * kRows);
        else
            with(attention_kernel<2, 8>, 2 * kRows);
    }
}

}  // namespace eplb::cuda
