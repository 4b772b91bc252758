#include <vector>

#include "lib/collect/online_balancer.h"
#include "tests/test_support.h"

namespace eplb::test_online_balancer {

namespace {

std::vector<std::vector<int>> groups(int num_layers, int layer_updates_per_iter) {
    const UpdatePlan plan(num_layers, layer_updates_per_iter);
    std::vector<std::vector<int>> all;
    for (int i = 0; i < plan.cycle_length(); ++i)
        all.push_back(plan.layers(i));
    return all;
}

}  // namespace

// expected groups: TensorRT-LLM's rule, worked by hand
TEST_CASE("layers take turns in round-robin groups, an empty one last where all are full") {
    using Groups = std::vector<std::vector<int>>;
    CHECK(groups(3, 2) == Groups{{0, 2}, {1}});
    CHECK(groups(5, 3) == Groups{{0, 2, 4}, {1, 3}});
    CHECK(groups(6, 4) == Groups{{0, 2, 4}, {1, 3, 5}, {}});
    CHECK(groups(2, 1) == Groups{{0}, {1}, {}});
    CHECK(groups(1, 5) == Groups{{0}, {}});
    CHECK(groups(2, 2147483647) == Groups{{0, 1}, {}});

    const Groups r1 = groups(58, 2);
    REQUIRE(r1.size() == 30);
    for (int i = 0; i < 29; ++i)
        CHECK(r1[i] == std::vector<int>{i, i + 29});
    CHECK(r1[29].empty());

    const Groups many = groups(61, 10);
    REQUIRE(many.size() == 7);
    for (std::size_t i = 0; i < 7; ++i)
        CHECK(many[i].size() == (i < 5 ? 9U : 8U));
}

TEST_CASE("groups come round again") {
    const UpdatePlan plan(3, 2);
    CHECK(plan.layers(0) == plan.layers(2));
    CHECK(plan.layers(1) == plan.layers(1001));
}

TEST_CASE("a layer's load decays, and is forgotten when the layer is re-placed") {
    // two layers, one per iteration: layer 0 in iterations 0, 3, 6, …; layer 1 in 1, 4, …
    OnlineBalancer balancer(2, 4, 2, 3, 1);
    const std::vector<std::int64_t> counts = {100, 10, 0, 30};
    CHECK(balancer.update(0, 1, counts) == std::nullopt);
    CHECK(balancer.load(1)[0] == 100.0F);
    const std::vector<std::int64_t> next = {1, 2, 3, 4};
    const auto placement = balancer.update(1, 1, next);
    REQUIRE(placement);
    CHECK(balancer.load(1)[0] == 0.0F);
    CHECK(balancer.load(0)[0] == 0.0F);
    CHECK(balancer.update(2, 1, counts) == std::nullopt);
    CHECK(balancer.update(3, 1, next) == std::nullopt);
    CHECK(balancer.load(1)[0] == Approx(100 * 0.9 + 1));
    CHECK(balancer.load(1)[2] == Approx(0 * 0.9 + 3));

    // loads 91, 11, 3, 31 in iteration 1: expert 0 takes both extra slots (91/2, 91/3 > 31)
    CHECK(replica_counts(placement->expert_ids, 4) == std::vector<int>{3, 1, 1, 1});
}

}  // namespace eplb::test_online_balancer
