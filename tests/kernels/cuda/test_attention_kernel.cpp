#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/cuda/launch.h"
#include "lib/base/error.h"
#include "tests/kernels/cuda/launch_support.h"
#include "tests/kernels/kernel_support.h"

namespace eplb::test_attention_kernel {

namespace {

using namespace eplb::test;

// One piece of a sequence, with keys and values up to its last position and no further.
struct Piece {
    Piece(const Backend::AttentionArguments& shape, int first, int num_queries, unsigned seed)
        : first_position(first),
          queries(random(num_queries, shape.num_heads * shape.key_size, seed)),
          keys(random(first + num_queries, shape.num_kv_heads * shape.key_size, seed + 1)),
          values(random(first + num_queries, shape.num_kv_heads * shape.value_size, seed + 2)),
          device_queries(queries),
          device_keys(keys),
          device_values(values),
          output(size(num_queries, shape.num_heads * shape.value_size)),
          view{first,
               num_queries,
               device_queries.data(),
               device_keys.data(),
               device_values.data(),
               output.data()} {}

    static std::size_t size(int rows, int columns) {
        return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    }
    static std::vector<float> random(int rows, int columns, unsigned seed) {
        return random_values(size(rows, columns), seed);
    }

    int first_position;
    std::vector<float> queries, keys, values;
    DeviceArray<float> device_queries, device_keys, device_values, output;
    Backend::AttentionPiece view;
};

// By the definition, in fp64.
void check_piece(const Backend::AttentionArguments& shape,
                 const Piece& piece,
                 const std::vector<float>& sinks) {
    const std::vector<float> output = piece.output.get();
    const std::ptrdiff_t key_size = shape.key_size;
    const std::ptrdiff_t value_size = shape.value_size;
    double worst = 0;
    for (std::ptrdiff_t q = 0; q < piece.view.num_queries; ++q)
        for (std::ptrdiff_t head = 0; head < shape.num_heads; ++head) {
            const std::ptrdiff_t kv_head = head / (shape.num_heads / shape.num_kv_heads);
            const std::ptrdiff_t position = piece.first_position + q;
            const std::ptrdiff_t first =
                shape.sliding_window == 0
                    ? 0
                    : std::max<std::ptrdiff_t>(0, position - shape.sliding_window + 1);
            std::vector<double> logits;
            for (std::ptrdiff_t key = first; key <= position; ++key) {
                double logit = 0;
                for (std::ptrdiff_t i = 0; i < key_size; ++i)
                    logit += double{piece.queries[(q * shape.num_heads + head) * key_size + i]} *
                             piece.keys[(key * shape.num_kv_heads + kv_head) * key_size + i];
                logits.push_back(logit * shape.scale);
            }
            double maximum = *std::max_element(logits.begin(), logits.end());
            if (!sinks.empty())
                maximum = std::max(maximum, double{sinks[head]});
            double total = sinks.empty() ? 0 : std::exp(sinks[head] - maximum);
            for (double& logit : logits)
                total += logit = std::exp(logit - maximum);
            for (std::ptrdiff_t i = 0; i < value_size; ++i) {
                double sum = 0;
                for (std::ptrdiff_t key = first; key <= position; ++key)
                    sum += logits[key - first] *
                           piece.values[(key * shape.num_kv_heads + kv_head) * value_size + i];
                const double difference =
                    std::fabs(sum / total - output[(q * shape.num_heads + head) * value_size + i]);
                worst = difference <= worst ? worst : difference;  // a NaN is worse than anything
            }
        }
    // values are about 1, and weights sum up to 1
    CHECK(worst < 2e-5);
}

void check(Backend::AttentionArguments shape,
           const std::vector<float>& sinks,
           const std::vector<std::pair<int, int>>& pieces,
           unsigned seed) {
    CAPTURE(shape.num_heads, shape.num_kv_heads, shape.key_size, shape.value_size,
            shape.sliding_window, sinks.size(), pieces.size());
    DeviceArray<float> device_sinks(sinks);
    shape.sinks = device_sinks.data();
    std::vector<std::unique_ptr<Piece>> made;
    std::vector<Backend::AttentionPiece> views;
    for (const auto& [first, num_queries] : pieces) {
        made.push_back(std::make_unique<Piece>(shape, first, num_queries, seed += 3));
        views.push_back(made.back()->view);
    }
    cuda::attention(shape, views, nullptr);
    for (const auto& piece : made)
        check_piece(shape, *piece, sinks);
}

const std::vector<float> kSinks = {0.5F, -2, 8, 0, 3, -30};

}  // namespace

TEST_CASE("attention: windows, sinks, heads that share keys, and sizes") {
    unsigned seed = 1;
    for (const int window : {0, 1, 3, 63, 64, 65, 130})
        check({2, 1, 16, 16, 0.3F, window, nullptr}, {}, {{0, 150}, {63, 2}, {64, 1}, {130, 70}},
              seed += 100);
    check({6, 2, 24, 8, 0.2F, 0, nullptr}, {}, {{0, 70}}, seed += 100);
    check({4, 4, 7, 33, 1.0F, 0, nullptr}, {}, {{3, 65}}, seed += 100);
    check({6, 3, 64, 64, 0.125F, 0, nullptr}, kSinks, {{0, 70}, {100, 1}}, seed += 100);
    check({6, 6, 8, 16, 0.25F, 66, nullptr}, kSinks, {{0, 140}}, seed += 100);
    check({3, 1, 1, 1, 2.0F, 5, nullptr}, {1, 0, -1}, {{0, 40}}, seed += 100);
    check({2, 2, 192, 128, 0.07F, 0, nullptr}, {}, {{10, 70}}, seed += 100);
    check({2, 1, 129, 129, 0.09F, 0, nullptr}, {}, {{0, 66}}, seed += 100);
    check({1, 1, 256, 256, 0.06F, 0, nullptr}, {}, {{5, 65}}, seed += 100);
    check({2, 1, 576, 512, 0.04F, 0, nullptr}, {}, {{70, 34}, {0, 1}}, seed += 100);
    check({1, 1, 40, 257, 0.15F, 20, nullptr}, {0.5F}, {{31, 33}}, seed += 100);
}

TEST_CASE("attention: many pieces, some of them empty; none") {
    std::vector<std::pair<int, int>> pieces;
    for (int i = 0; i < 140; ++i)
        pieces.push_back({i * 7 % 50, i % 5});
    check({2, 1, 8, 8, 0.3F, 0, nullptr}, {}, pieces, 9000);
    check({2, 1, 8, 8, 0.3F, 0, nullptr}, {}, {{4, 0}}, 9500);
    check({2, 1, 8, 8, 0.3F, 0, nullptr}, {}, {}, 9600);
}

TEST_CASE("attention: logits that are far apart") {
    // hundreds, whose maximum moves from block to block
    for (const float scale : {20.0F, -20.0F}) {
        check({1, 1, 2, 3, scale, 0, nullptr}, {}, {{0, 200}}, 5);
        check({1, 1, 2, 3, scale, 0, nullptr}, {1e30F}, {{0, 70}}, 6);
        check({1, 1, 2, 3, scale, 0, nullptr}, {-1e30F}, {{0, 70}}, 7);
    }
}

TEST_CASE("attention: what a GPU cannot do is an error") {
    CHECK_THROWS_AS(cuda::attention({1, 1, 8, 513, 1, 0, nullptr},
                                    std::vector<Backend::AttentionPiece>(1), nullptr),
                    Error);
}

}  // namespace eplb::test_attention_kernel
