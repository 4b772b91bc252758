#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/catch.h"
#include "tests/kernels/kernel_support.h"

namespace eplb::test_cpu_attention {

namespace {

using namespace eplb::test;

// Queries, keys and values of a sequence.
struct Sequence {
    Sequence(const Backend::AttentionArguments& shape_, int num_positions_, unsigned seed)
        : shape(shape_),
          num_positions(num_positions_),
          query_size(shape.num_heads * shape.key_size),
          key_size(shape.num_kv_heads * shape.key_size),
          value_size(shape.num_kv_heads * shape.value_size),
          output_size(shape.num_heads * shape.value_size),
          queries(random_values(count(query_size), seed)),
          keys(random_values(count(key_size), seed + 1)),
          values(random_values(count(value_size), seed + 2)) {}

    std::size_t count(int size) const {
        return static_cast<std::size_t>(num_positions) * static_cast<std::size_t>(size);
    }

    // a piece from a copy of what is known at its last position, so that nothing later is read
    struct Piece {
        int first;
        std::vector<float> queries, keys, values, output;
    };
    Piece piece(int first, int last) const {
        const int num_queries = last - first;
        return {first, rows_of(queries, first, num_queries, query_size),
                rows_of(keys, 0, last, key_size), rows_of(values, 0, last, value_size),
                std::vector<float>(static_cast<std::size_t>(num_queries) *
                                   static_cast<std::size_t>(output_size))};
    }

    Backend::AttentionArguments shape;
    int num_positions;
    int query_size, key_size, value_size, output_size;
    std::vector<float> queries, keys, values;
};

Backend::AttentionPiece view(Sequence::Piece& piece, const Sequence& sequence) {
    return {piece.first,          static_cast<int>(piece.queries.size()) / sequence.query_size,
            piece.queries.data(), piece.keys.data(),
            piece.values.data(),  piece.output.data()};
}

// The sequence cut at `cuts`, all pieces in one call.
std::vector<float> attend(Backend& backend, const Sequence& sequence, std::vector<int> cuts = {}) {
    cuts.insert(cuts.begin(), 0);
    cuts.push_back(sequence.num_positions);
    std::vector<Sequence::Piece> pieces;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
        pieces.push_back(sequence.piece(cuts[i], cuts[i + 1]));
    std::vector<Backend::AttentionPiece> views;
    for (Sequence::Piece& piece : pieces)
        views.push_back(view(piece, sequence));
    // any order
    std::reverse(views.begin(), views.end());
    backend.attention(sequence.shape, views);
    std::vector<float> output;
    for (const Sequence::Piece& piece : pieces)
        output.insert(output.end(), piece.output.begin(), piece.output.end());
    return output;
}

void check_against_loops(const Sequence& sequence, const std::vector<float>& output) {
    const Backend::AttentionArguments& shape = sequence.shape;
    for (int position = 0; position < sequence.num_positions; ++position)
        for (int head = 0; head < shape.num_heads; ++head) {
            const int kv_head = head / (shape.num_heads / shape.num_kv_heads);
            const int first =
                shape.sliding_window == 0 ? 0 : std::max(0, position - shape.sliding_window + 1);
            double total =
                shape.sinks == nullptr ? 0 : std::exp(static_cast<double>(shape.sinks[head]));
            std::vector<double> sum(shape.value_size);
            for (int key = first; key <= position; ++key) {
                double logit = 0;
                for (int i = 0; i < shape.key_size; ++i)
                    logit += static_cast<double>(sequence.queries[position * sequence.query_size +
                                                                  head * shape.key_size + i]) *
                             sequence.keys[key * sequence.key_size + kv_head * shape.key_size + i];
                const double weight = std::exp(logit * shape.scale);
                total += weight;
                for (int i = 0; i < shape.value_size; ++i)
                    sum[i] +=
                        weight *
                        sequence.values[key * sequence.value_size + kv_head * shape.value_size + i];
            }
            for (int i = 0; i < shape.value_size; ++i)
                REQUIRE(output[position * sequence.output_size + head * shape.value_size + i] ==
                        Approx(sum[i] / total).epsilon(1e-4).margin(2e-5));
        }
}

const std::vector<float> kSinks = {0.5F, -2, 8, 0, 3, -30};

std::vector<Backend::AttentionArguments> shapes() {
    std::vector<Backend::AttentionArguments> all;
    for (const int window : {0, 1, 3, 64, 127, 128, 129, 200, 1000})
        all.push_back({2, 1, 16, 16, 0.3F, window, nullptr});
    all.push_back({6, 2, 24, 8, 0.2F, 0, nullptr});  // key_size != value_size
    all.push_back({4, 4, 7, 33, 1.0F, 0, nullptr});  // odd sizes
    all.push_back({6, 3, 16, 16, 0.25F, 0, kSinks.data()});
    all.push_back({6, 6, 8, 16, 0.25F, 130, kSinks.data()});
    all.push_back({3, 1, 1, 1, 2.0F, 5, kSinks.data()});
    return all;
}

}  // namespace

TEST_CASE("attention agrees with plain loops for all windows, sinks and head sizes") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    unsigned seed = 1;
    for (const Backend::AttentionArguments& shape : shapes())
        for (const int num_positions : {1, 2, 63, 64, 65, 129, 300}) {
            CAPTURE(shape.sliding_window, shape.key_size, shape.value_size, num_positions);
            const Sequence sequence(shape, num_positions, ++seed);
            check_against_loops(sequence, attend(backend, sequence));
        }
}

TEST_CASE("attention holds where logits are far apart") {
    ThreadPool threads(1);
    CpuBackend backend(threads);
    // logits of some hundreds, rising and falling from block to block: the maximum moves
    for (const float scale : {20.0F, -20.0F}) {
        Sequence sequence({1, 1, 2, 3, scale, 0, nullptr}, 400, 5);
        std::vector<float> output = attend(backend, sequence);
        for (const float value : output)
            REQUIRE(std::isfinite(value));
        // a single key that outweighs all others gives its value
        sequence.queries.assign(sequence.queries.size(), 1.0F);
        sequence.keys.assign(sequence.keys.size(), 0.0F);
        sequence.keys[2 * 150] = 10.0F * (scale < 0 ? -1.0F : 1.0F);
        output = attend(backend, sequence);
        for (int position = 150; position < 400; ++position)
            for (int i = 0; i < 3; ++i)
                REQUIRE(output[position * 3 + i] ==
                        Approx(sequence.values[150 * 3 + i]).epsilon(1e-6));
    }
}

TEST_CASE("how a sequence is cut into pieces changes no bit of attention") {
    ThreadPool one(1);
    ThreadPool three(3);
    CpuBackend backend(one);
    CpuBackend parallel(three);
    unsigned seed = 100;
    for (const Backend::AttentionArguments& shape : shapes()) {
        CAPTURE(shape.sliding_window, shape.key_size, shape.value_size);
        const Sequence sequence(shape, 420, ++seed);
        const std::vector<float> together = attend(backend, sequence);
        REQUIRE(attend(parallel, sequence) == together);
        for (const int cut : {1, 2, 63, 64, 65, 127, 128, 129, 191, 200, 256, 257, 419})
            REQUIRE(attend(backend, sequence, {cut}) == together);
        REQUIRE(attend(parallel, sequence, {1, 2, 3, 64, 127, 128, 130, 255, 256, 300}) ==
                together);
        std::vector<int> each;
        for (int position = 1; position < 420; position += position < 140 ? 1 : 23)
            each.push_back(position);
        REQUIRE(attend(backend, sequence, each) == together);
    }
}

TEST_CASE("sequences that share a call do not see each other") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const Backend::AttentionArguments shape = {2, 1, 128, 64, 0.1F, 0, nullptr};
    const Sequence first(shape, 70, 1);
    const Sequence second(shape, 300, 9);
    Sequence::Piece a = first.piece(0, 70);
    Sequence::Piece b = second.piece(0, 131);
    Sequence::Piece c = second.piece(131, 300);
    const Backend::AttentionPiece pieces[] = {view(c, second), view(a, first), view(b, second)};
    backend.attention(shape, pieces);
    CHECK(a.output == attend(backend, first));
    b.output.insert(b.output.end(), c.output.begin(), c.output.end());
    CHECK(b.output == attend(backend, second));
}

}  // namespace eplb::test_cpu_attention
