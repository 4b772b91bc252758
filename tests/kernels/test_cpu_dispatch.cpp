#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "tests/test_support.h"

namespace eplb::test_cpu_dispatch {

namespace {

std::vector<std::int32_t> random_ids(std::size_t size, int first, int count, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<std::int32_t> ids(size);
    for (std::int32_t& id : ids)
        id = first + static_cast<std::int32_t>(generator() % static_cast<unsigned>(count));
    return ids;
}

}  // namespace

TEST_CASE("a dispatch plan orders rows by place, then pair, and finds each pair its row") {
    constexpr int kTopK = 3;
    constexpr int kPlaces = 7;
    constexpr int kFirstPlace = 20;
    ThreadPool threads(2);
    CpuBackend backend(threads);
    for (const int num_tokens : {0, 1, 40}) {
        const int num_pairs = num_tokens * kTopK;
        const std::vector<std::int32_t> place_ids =
            random_ids(static_cast<std::size_t>(num_pairs), kFirstPlace, kPlaces, 1);
        std::vector<std::int32_t> place_begin(kPlaces + 1, -1);
        std::vector<std::int32_t> rows(num_pairs);
        std::vector<std::int32_t> source_rows(num_pairs);
        std::vector<std::int32_t> row_places(num_pairs);
        backend.plan_dispatch({.top_k = kTopK,
                               .num_places = kPlaces,
                               .first_place = kFirstPlace,
                               .num_tokens = num_tokens,
                               .place_ids = place_ids.data()},
                              {.place_begin = place_begin.data(),
                               .rows = rows.data(),
                               .source_rows = source_rows.data(),
                               .row_places = row_places.data()});
        // a stable sort of the pairs says what must come out
        std::vector<int> pairs(num_pairs);
        std::iota(pairs.begin(), pairs.end(), 0);
        std::stable_sort(pairs.begin(), pairs.end(),
                         [&](int a, int b) { return place_ids[a] < place_ids[b]; });
        for (int row = 0; row < num_pairs; ++row) {
            REQUIRE(rows[pairs[row]] == row);
            REQUIRE(source_rows[row] == pairs[row] / kTopK);
            REQUIRE(row_places[row] == place_ids[pairs[row]]);
        }
        for (int place = 0; place <= kPlaces; ++place)
            REQUIRE(place_begin[place] ==
                    std::count_if(place_ids.begin(), place_ids.end(),
                                  [&](std::int32_t id) { return id < kFirstPlace + place; }));
    }
}

TEST_CASE("rows are copied, repeated and gathered") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    std::vector<float> from(300 * 5);
    std::iota(from.begin(), from.end(), 0.0F);
    std::vector<float> to(300 * 12, -1);
    backend.copy_rows({.num_rows = 300,
                       .size = 3,
                       .from_stride = 5,
                       .to_stride = 12,
                       .num_copies = 2,
                       .copy_stride = 6},
                      from.data() + 1, to.data() + 2);
    for (int row = 0; row < 300; ++row)
        for (int i = 0; i < 12; ++i) {
            const bool copied = (i >= 2 && i < 5) || (i >= 8 && i < 11);
            const auto expected = copied ? static_cast<float>(row * 5 + 1 + (i - 2) % 6) : -1.0F;
            REQUIRE(to[row * 12 + i] == expected);
        }

    const std::vector<std::int32_t> source_rows = {7, 0, 7, 299};
    std::vector<float> gathered(4 * 5);
    backend.gather_rows(source_rows.data(), 4, 5 * sizeof(float), from.data(), gathered.data());
    for (int row = 0; row < 4; ++row)
        for (int i = 0; i < 5; ++i)
            REQUIRE(gathered[row * 5 + i] == static_cast<float>(source_rows[row] * 5 + i));
}

TEST_CASE("values that are no finite numbers are seen wherever they are") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    std::vector<float> values(200000, 1.0F);
    CHECK(backend.all_finite(values.data(), 200000));
    CHECK(backend.all_finite(nullptr, 0));
    for (const int at : {0, 131071, 199999}) {
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
            values[at] = bad;
            CHECK_FALSE(backend.all_finite(values.data(), 200000));
        }
        values[at] = 1;
    }
}

}  // namespace eplb::test_cpu_dispatch
