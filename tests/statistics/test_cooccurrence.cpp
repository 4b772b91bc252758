#include <algorithm>
#include <vector>

#include "lib/statistics/cooccurrence.h"
#include "tests/test_support.h"

namespace eplb::test_cooccurrence {

using eplb::test::error_of;

namespace {

using Ids = std::vector<std::int32_t>;
using Counts = std::vector<std::int64_t>;

// Two iterations from 7 on, layers 3 and 9, two source ranks.
RoutedIds small_routed() {
    RoutedIds routed;
    routed.top_k = 2;
    routed.ep_size = 2;
    routed.layers = {3, 9};
    routed.iter_start = 7;
    routed.num_iterations = 2;
    routed.ids = {
        {0, 1, 2, 1}, {1, 0},        // iteration 7, layer 3
        {0, 2},       {},            // layer 9
        {2, -1},      {-1, -1},      // iteration 8, layer 3
        {1, 2, 0, 2}, {0, 1, -1, 1}  // layer 9
    };
    return routed;
}

// The definition, entry by entry: tokens that have both ids.
std::int64_t num_tokens_with(
    const RoutedIds& routed, int layer, IterationRange range, std::int32_t a, std::int32_t b) {
    std::int64_t num_tokens = 0;
    for (std::int64_t id = range.start; id < range.stop; ++id)
        for (int source = 0; source < routed.ep_size; ++source) {
            const Ids& ids = routed.cell(static_cast<int>(id - routed.iter_start), layer, source);
            for (auto token = ids.begin(); token != ids.end(); token += routed.top_k)
                num_tokens += std::find(token, token + routed.top_k, a) != token + routed.top_k &&
                              std::find(token, token + routed.top_k, b) != token + routed.top_k;
        }
    return num_tokens;
}

}  // namespace

TEST_CASE("pairs are counted in both orders and every id with itself") {
    const ExpertCooccurrence pairs = count_cooccurrence(small_routed(), 3);
    CHECK(pairs.num_experts == 3);
    CHECK(pairs.ids == IdKind::unstated);
    CHECK(pairs.layers == std::vector<int>{3, 9});
    CHECK(pairs.num_tokens == Counts{4, 5});
    CHECK(pairs.counts == Counts{2, 2, 0, 2, 3, 1, 0, 1, 2,    // layer 3
                                 3, 1, 2, 1, 3, 1, 2, 1, 3});  // layer 9
    CHECK(std::ranges::equal(pairs.matrix(1), Counts{3, 1, 2, 1, 3, 1, 2, 1, 3}));
}

TEST_CASE("a range of iterations counts the tokens of those") {
    const ExpertCooccurrence first = count_cooccurrence(small_routed(), 3, IterationRange{7, 8});
    CHECK(first.num_tokens == Counts{3, 1});
    CHECK(std::ranges::equal(first.matrix(1), Counts{1, 0, 1, 0, 0, 0, 1, 0, 1}));
    const ExpertCooccurrence second = count_cooccurrence(small_routed(), 3, IterationRange{8, 9});
    CHECK(second.num_tokens == Counts{1, 4});
    ExpertCooccurrence sum = first;
    for (std::size_t i = 0; i < sum.counts.size(); ++i)
        sum.counts[i] += second.counts[i];
    CHECK(sum.counts == count_cooccurrence(small_routed(), 3).counts);
}

TEST_CASE("every entry is the number of tokens that have both ids") {
    RoutedIds routed;
    routed.top_k = 3;
    routed.ep_size = 2;
    routed.layers = {0, 1};
    routed.iter_start = 100;
    routed.num_iterations = 3;
    std::uint32_t state = 1;
    for (int cell = 0; cell < 3 * 2 * 2; ++cell) {
        Ids ids;
        for (int token = 0; token < 20; ++token) {
            state = state * 1664525U + 1013904223U;
            const auto first = static_cast<std::int32_t>((state >> 8) % 7);
            const auto step = static_cast<std::int32_t>(1 + (state >> 16) % 3);
            ids.insert(ids.end(), {first, (first + step) % 7, (first + 2 * step) % 7});
            if (state >> 28 == 0)
                ids.back() = -1;
        }
        routed.ids.push_back(ids);
    }
    for (const IterationRange range : {IterationRange{100, 103}, IterationRange{101, 102}}) {
        const ExpertCooccurrence pairs = count_cooccurrence(routed, 7, range);
        for (int layer = 0; layer < 2; ++layer)
            for (std::int32_t a = 0; a < 7; ++a)
                for (std::int32_t b = 0; b < 7; ++b)
                    CHECK(pairs.matrix(layer)[a * 7 + b] ==
                          num_tokens_with(routed, layer, range, a, b));
    }
}

TEST_CASE("iterations and ids that are not there are refused") {
    CHECK(error_of([] {
              count_cooccurrence(small_routed(), 3, IterationRange{6, 8});
          }) ==
          "routed ids: holds iterations 7-9 (half open), not 6-8; choose iter_start and "
          "iter_stop from these");
    CHECK_STARTS_WITH(error_of([] { count_cooccurrence(small_routed(), 2); }),
                      "routed ids: id 2 where there are 2 experts; give the statistics");
}

}  // namespace eplb::test_cooccurrence
