#include <algorithm>
#include <limits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"
#include "lib/model/select_experts.h"

namespace eplb {
namespace {

// Tiles have these sizes always, filled up with zeros, so that products are alike: a position's
// result does not depend on what shares its tile. Blocks of keys begin at multiples of kKeyBlock
// from the sequence's start; one that a position does not see changes nothing for it.
constexpr int kQueryTile = 64;
constexpr int kKeyBlock = 128;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

using StridedRows = Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>;
using StridedColumns = Eigen::Map<const ColumnMajor, 0, Eigen::OuterStride<>>;

struct HeadTile {
    const Backend::AttentionArguments* arguments;
    const Backend::AttentionPiece* piece;
    int head;
    int first_query;  // in the piece
    int num_queries;

    int position(int query) const { return piece->first_position + first_query + query; }
    int first_visible(int position) const {
        return arguments->sliding_window == 0
                   ? 0
                   : std::max(0, position - arguments->sliding_window + 1);
    }
};

// Space for one tile.
struct TileSpace {
    float* queries;  // [kQueryTile][key_size], scaled
    float* block;    // [kKeyBlock][key_size or value_size], the last keys filled up
    float* scores;   // [kQueryTile][kKeyBlock]
    float* part;     // [kQueryTile][value_size]
    float* sum;      // [kQueryTile][value_size], of values so far

    static std::size_t size(int key_size, int value_size) {
        const auto keys = static_cast<std::size_t>(key_size);
        const auto values = static_cast<std::size_t>(value_size);
        return kQueryTile * keys + kKeyBlock * std::max(keys, values) + kQueryTile * kKeyBlock +
               2 * kQueryTile * values;
    }

    TileSpace(float* space, int key_size, int value_size)
        : queries(space),
          block(queries + kQueryTile * static_cast<std::ptrdiff_t>(key_size)),
          scores(block + kKeyBlock * static_cast<std::ptrdiff_t>(std::max(key_size, value_size))),
          part(scores + kQueryTile * kKeyBlock),
          sum(part + kQueryTile * static_cast<std::ptrdiff_t>(value_size)) {}
};

// kKeyBlock rows from `rows` on, in place; or, where there are fewer, a copy filled up with zeros
std::pair<const float*, std::ptrdiff_t> whole_block(
    const float* rows, std::ptrdiff_t stride, int num_rows, int size, float* copy) {
    if (num_rows == kKeyBlock)
        return {rows, stride};
    for (std::ptrdiff_t r = 0; r < num_rows; ++r)
        std::copy_n(rows + r * stride, size, copy + r * size);
    std::fill(copy + std::ptrdiff_t{num_rows} * size, copy + std::ptrdiff_t{kKeyBlock} * size,
              0.0F);
    return {copy, size};
}

// One block's scores become weights, and what was summed so far is scaled to the new maximum.
// Weights of keys that a position does not see are 0.
void soften(const HeadTile& tile,
            int block_begin,
            int num_keys,
            int value_size,
            float* scores,
            float* maxima,
            float* totals,
            float* sum) {
    for (int q = 0; q < kQueryTile; ++q) {
        float* const row = scores + std::ptrdiff_t{q} * kKeyBlock;
        const int position = q < tile.num_queries ? tile.position(q) : -1;
        const int begin = std::max(tile.first_visible(std::max(position, 0)) - block_begin, 0);
        const int end = std::min(position + 1 - block_begin, num_keys);
        if (begin >= end) {
            std::fill_n(row, kKeyBlock, 0.0F);
            continue;
        }
        const float maximum = std::max(maxima[q], *std::max_element(row + begin, row + end));
        std::fill(row, row + begin, 0.0F);
        std::fill(row + end, row + kKeyBlock, 0.0F);
        for (int k = begin; k < end; ++k)
            row[k] = exp_f32(row[k] - maximum);
        // the whole row, in lanes: a fixed order
        constexpr int kLanes = 16;
        float lanes[kLanes] = {};
        for (int k = 0; k < kKeyBlock; k += kLanes)
            for (int lane = 0; lane < kLanes; ++lane)
                lanes[lane] += row[k + lane];
        float total = 0;
        for (const float lane : lanes)
            total += lane;
        if (maxima[q] == kNothing) {
            totals[q] = total;
        } else {
            const float factor = exp_f32(maxima[q] - maximum);
            totals[q] = totals[q] * factor + total;
            float* const values = sum + std::ptrdiff_t{q} * value_size;
            for (int i = 0; i < value_size; ++i)
                values[i] *= factor;
        }
        maxima[q] = maximum;
    }
}

void attend_tile(const HeadTile& tile, float* space_begin, MatrixWork& work) {
    const Backend::AttentionArguments& arguments = *tile.arguments;
    const Backend::AttentionPiece& piece = *tile.piece;
    const int key_size = arguments.key_size;
    const int value_size = arguments.value_size;
    const TileSpace space(space_begin, key_size, value_size);
    const std::ptrdiff_t query_stride = std::ptrdiff_t{arguments.num_heads} * key_size;
    const std::ptrdiff_t output_stride = std::ptrdiff_t{arguments.num_heads} * value_size;
    const std::ptrdiff_t key_stride = std::ptrdiff_t{arguments.num_kv_heads} * key_size;
    const std::ptrdiff_t value_stride = std::ptrdiff_t{arguments.num_kv_heads} * value_size;
    const std::ptrdiff_t key_head = tile.head / (arguments.num_heads / arguments.num_kv_heads);

    std::fill_n(space.queries, std::ptrdiff_t{kQueryTile} * key_size, 0.0F);
    for (std::ptrdiff_t q = 0; q < tile.num_queries; ++q) {
        const float* const query = piece.queries + (tile.first_query + q) * query_stride +
                                   std::ptrdiff_t{tile.head} * key_size;
        for (int i = 0; i < key_size; ++i)
            space.queries[q * key_size + i] = query[i] * arguments.scale;
    }
    float maxima[kQueryTile];
    float totals[kQueryTile];
    // a sink takes part like a key without a value
    std::fill_n(maxima, kQueryTile,
                arguments.sinks == nullptr ? kNothing : arguments.sinks[tile.head]);
    std::fill_n(totals, kQueryTile, arguments.sinks == nullptr ? 0.0F : 1.0F);
    std::fill_n(space.sum, std::ptrdiff_t{kQueryTile} * value_size, 0.0F);

    const int num_positions = piece.first_position + piece.num_queries;
    const int last = tile.position(tile.num_queries - 1);
    const int first_block = tile.first_visible(tile.position(0)) / kKeyBlock;
    for (int block = first_block; block * kKeyBlock <= last; ++block) {
        const int begin = block * kKeyBlock;
        const int num_keys = std::min(kKeyBlock, num_positions - begin);
        const MatrixTimer timer(work, 2.0 * tile.num_queries * num_keys * (key_size + value_size));
        {
            const auto [keys, stride] =
                whole_block(piece.keys + begin * key_stride + key_head * key_size, key_stride,
                            num_keys, key_size, space.block);
            Eigen::Map<ColumnMajor>(space.scores, kKeyBlock, kQueryTile).noalias() =
                StridedRows(keys, kKeyBlock, key_size, Eigen::OuterStride<>(stride)) *
                Eigen::Map<const ColumnMajor>(space.queries, key_size, kQueryTile);
        }
        soften(tile, begin, num_keys, value_size, space.scores, maxima, totals, space.sum);
        {
            const auto [values, stride] =
                whole_block(piece.values + begin * value_stride + key_head * value_size,
                            value_stride, num_keys, value_size, space.block);
            Eigen::Map<ColumnMajor>(space.part, value_size, kQueryTile).noalias() =
                StridedColumns(values, value_size, kKeyBlock, Eigen::OuterStride<>(stride)) *
                Eigen::Map<const ColumnMajor>(space.scores, kKeyBlock, kQueryTile);
        }
        for (std::ptrdiff_t i = 0; i < std::ptrdiff_t{kQueryTile} * value_size; ++i)
            space.sum[i] += space.part[i];
    }
    for (std::ptrdiff_t q = 0; q < tile.num_queries; ++q) {
        float* const output = piece.output + (tile.first_query + q) * output_stride +
                              std::ptrdiff_t{tile.head} * value_size;
        for (int i = 0; i < value_size; ++i)
            output[i] = space.sum[q * value_size + i] / totals[q];
    }
}

}  // namespace

void CpuBackend::attention(const AttentionArguments& attention,
                           std::span<const AttentionPiece> pieces) {
    std::vector<HeadTile> tiles;
    for (const AttentionPiece& piece : pieces)
        for (int head = 0; head < attention.num_heads; ++head)
            for (int first = 0; first < piece.num_queries; first += kQueryTile)
                tiles.push_back({&attention, &piece, head, first,
                                 std::min(kQueryTile, piece.num_queries - first)});
    threads_.for_each(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t index, int thread) {
        attend_tile(tiles[index],
                    scratch(thread, TileSpace::size(attention.key_size, attention.value_size)),
                    of_thread_[thread].other_work);
    });
}

}  // namespace eplb
