#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/launch.h"
#include "lib/base/error.h"
#include "tests/kernels/cuda/launch_support.h"
#include "tests/test_support.h"

namespace eplb::test_dispatch_kernels {

namespace {

using namespace eplb::test;

std::vector<std::int32_t> random_ids(std::size_t size, int first, int last, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_int_distribution<std::int32_t> id(first, last);
    std::vector<std::int32_t> ids(size);
    for (std::int32_t& each : ids)
        each = id(generator);
    return ids;
}

struct PlanCase {
    int num_places, first_place, num_tokens, top_k;
    bool one_place = false;  // all go there
};

// By a sort that keeps the order of equals.
void check_plan(const PlanCase& shape, unsigned seed) {
    CAPTURE(shape.num_places, shape.first_place, shape.num_tokens, shape.top_k, shape.one_place);
    const int num_pairs = shape.num_tokens * shape.top_k;
    const std::vector<std::int32_t> place_ids = random_ids(
        static_cast<std::size_t>(num_pairs), shape.first_place,
        shape.one_place ? shape.first_place : shape.first_place + shape.num_places - 1, seed);
    std::vector<int> order(num_pairs);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return place_ids[a] < place_ids[b]; });
    std::vector<std::int32_t> place_begin;
    std::vector<std::int32_t> rows(num_pairs), source_rows(num_pairs), row_places(num_pairs);
    for (int row = 0; row < num_pairs; ++row) {
        rows[order[row]] = row;
        source_rows[row] = order[row] / shape.top_k;
        row_places[row] = place_ids[order[row]];
    }
    for (int place = 0; place <= shape.num_places; ++place)
        place_begin.push_back(static_cast<std::int32_t>(
            std::count_if(row_places.begin(), row_places.end(),
                          [&](std::int32_t each) { return each < shape.first_place + place; })));

    DeviceArray<std::int32_t> device_place_ids(place_ids);
    DeviceArray<std::int32_t> device_begin(place_begin.size());
    DeviceArray<std::int32_t> device_rows(rows.size());
    DeviceArray<std::int32_t> device_sources(rows.size());
    DeviceArray<std::int32_t> device_row_places(rows.size());
    const Backend::DispatchArguments dispatch = {.top_k = shape.top_k,
                                                 .num_places = shape.num_places,
                                                 .first_place = shape.first_place,
                                                 .num_tokens = shape.num_tokens,
                                                 .place_ids = device_place_ids.data()};
    DeviceArray<std::byte> workspace(cuda::dispatch_workspace_bytes(dispatch));
    cuda::plan_dispatch(
        dispatch,
        {device_begin.data(), device_rows.data(), device_sources.data(), device_row_places.data()},
        workspace.data(), nullptr);
    REQUIRE(device_begin.get() == place_begin);
    REQUIRE(device_rows.get() == rows);
    REQUIRE(device_sources.get() == source_rows);
    REQUIRE(device_row_places.get() == row_places);
    // row_places is not needed
    cuda::plan_dispatch(dispatch,
                        {device_begin.data(), device_rows.data(), device_sources.data(), nullptr},
                        workspace.data(), nullptr);
    REQUIRE(device_rows.get() == rows);
}

}  // namespace

TEST_CASE("plan_dispatch: a stable sort by place") {
    unsigned seed = 500;
    for (const int num_places : {1, 5, 32, 257, 1000, cuda::kMostPlaces})
        for (const int num_tokens : {0, 1, 33, 127, 128, 129, kSanitized ? 130 : 300})
            check_plan({num_places, num_places % 2 * 12, num_tokens, 8}, ++seed);
    check_plan({64, 12, 600, 6, true}, ++seed);
    if (!kSanitized)
        check_plan({3, 7, 17000, 2}, ++seed);  // more blocks than a warp has lanes
    check_plan({1024, 0, 500, 32}, ++seed);
}

TEST_CASE("dispatch: what a GPU cannot do is an error") {
    CHECK_THROWS_AS(cuda::plan_dispatch({1, 3073, 0, 1, nullptr}, {}, nullptr, nullptr), Error);
}

}  // namespace eplb::test_dispatch_kernels
