#include <algorithm>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"
#include "tests/test_support.h"

namespace eplb::test_greedy {

using eplb::num_duplicate_slots;
using eplb::pack_greedy;
using eplb::Placement;
using eplb::replica_counts;
using eplb::replicate_greedy;
using eplb::test::error_of;

namespace {

using Loads = std::vector<float>;
using Ids = std::vector<int>;

// Loads of the ranks when every replica of an expert takes an equal share.
std::vector<double> rank_loads(const Placement& placement, const Loads& load, const Ids& counts) {
    std::vector<double> sums;
    for (int rank = 0; rank < placement.ep_size; ++rank) {
        double sum = 0;
        for (const int expert : placement.rank(rank))
            sum += static_cast<double>(load[expert]) / counts[expert];
        sums.push_back(sum);
    }
    return sums;
}

double largest_share(const Loads& load, const Ids& counts) {
    double largest = 0;
    for (std::size_t expert = 0; expert < load.size(); ++expert)
        largest = std::max(largest, static_cast<double>(load[expert]) / counts[expert]);
    return largest;
}

// The smallest largest share over all replica counts >= 1 that sum to num_slots, by trying them
// all.
double best_largest_share(const Loads& load, int num_slots) {
    double best = std::numeric_limits<double>::infinity();
    Ids counts(load.size(), 1);
    const std::function<void(std::size_t, int)> try_all = [&](std::size_t expert, int num_left) {
        if (expert + 1 == load.size()) {
            counts[expert] = 1 + num_left;
            best = std::min(best, largest_share(load, counts));
            return;
        }
        for (int extra = 0; extra <= num_left; ++extra) {
            counts[expert] = 1 + extra;
            try_all(expert + 1, num_left - extra);
        }
    };
    try_all(0, num_slots - static_cast<int>(load.size()));
    return best;
}

// Calls visit with every load vector of num_experts values in [0, max_load].
void for_all_loads(int num_experts, int max_load, const std::function<void(const Loads&)>& visit) {
    Loads load(static_cast<std::size_t>(num_experts), 0);
    while (true) {
        visit(load);
        std::size_t digit = 0;
        while (digit < load.size() && load[digit] == static_cast<float>(max_load))
            load[digit++] = 0;
        if (digit == load.size())
            return;
        ++load[digit];
    }
}

}  // namespace

TEST_CASE("replication gives upstream's published counts") {
    CHECK(replicate_greedy(Loads{1, 2, 3, 4}, 4) == Ids{1, 1, 1, 1});
    CHECK(replicate_greedy(Loads{0, 0, 0, 0}, 6) == Ids{2, 2, 1, 1});
    CHECK(replicate_greedy(Loads{1, 4, 2, 1}, 8) == Ids{1, 4, 2, 1});
    CHECK(replicate_greedy(Loads{10, 5, 2, 15, 8}, 9) == Ids{2, 1, 1, 3, 2});
    CHECK(replicate_greedy(Loads{0, 10, 0}, 4) == Ids{1, 2, 1});
}

TEST_CASE("packing gives the rank lists of upstream's published cases") {
    struct Case {
        Loads load;
        Ids counts;
        int ep_size;
        int slots_per_rank;
        double tolerance;
        Ids expert_ids;
        std::vector<double> rank_loads;
    };
    const std::vector<Case> cases = {
        {{1, 1, 1, 1}, {1, 1, 1, 1}, 2, 2, 0.001, {0, 2, 1, 3}, {2, 2}},
        {{1, 3, 2, 1}, {1, 2, 2, 1}, 2, 3, 0.01, {1, 0, 2, 1, 2, 3}, {3.5, 3.5}},
        {{10, 5, 2, 15, 8}, {2, 1, 1, 3, 2}, 3, 3, 2.0, {0, 3, 4, 0, 3, 4, 1, 3, 2}, {14, 14, 12}},
        {{1, 100, 10}, {1, 2, 1}, 2, 2, 9.0, {1, 2, 1, 0}, {60, 51}},
        {{2, 3, 4, 5, 6, 7}, {1, 1, 1, 1, 1, 1}, 2, 3, 1.0, {5, 2, 1, 4, 3, 0}, {14, 13}},
    };
    for (const Case& expected : cases) {
        const Placement placement =
            pack_greedy(expected.load, expected.counts, expected.ep_size, expected.slots_per_rank);
        CHECK(placement.expert_ids == expected.expert_ids);
        const std::vector<double> loads = rank_loads(placement, expected.load, expected.counts);
        CHECK(loads == expected.rank_loads);
        const auto [least, most] = std::minmax_element(loads.begin(), loads.end());
        CHECK(*most - *least <= expected.tolerance);
    }
}

TEST_CASE("replication and packing agree with an oracle written from the rules") {
    const auto fixture = nlohmann::json::parse(
        eplb::test::read_text(eplb::test::test_data() / "placement" / "greedy.json"));
    REQUIRE(fixture["cases"].size() > 200);
    for (const auto& expected : fixture["cases"]) {
        const auto load = expected["load"].get<Loads>();
        const int num_slots = expected["num_slots"];
        const int ep_size = expected["ep_size"];
        const Ids counts = replicate_greedy(load, num_slots);
        CHECK(counts == expected["replica_count"].get<Ids>());
        const Placement placement = pack_greedy(load, counts, ep_size, num_slots / ep_size);
        CHECK(placement.expert_ids == expected["expert_ids"].get<Ids>());
    }
}

TEST_CASE("a tie in replication goes to the higher expert id") {
    CHECK(replicate_greedy(Loads{5, 5, 5}, 4) == Ids{1, 1, 2});
    CHECK(replicate_greedy(Loads{5, 5, 5}, 5) == Ids{1, 2, 2});
    // 6/2 == 3: the halved expert 0 ties with expert 1
    CHECK(replicate_greedy(Loads{6, 3}, 4) == Ids{2, 2});
    CHECK(replicate_greedy(Loads{3, 6}, 4) == Ids{1, 3});
}

TEST_CASE("ties in packing go to the lower expert and the lower rank") {
    CHECK(pack_greedy(Loads{2, 2, 2, 2}, Ids{1, 1, 1, 1}, 4, 1).expert_ids == Ids{0, 1, 2, 3});
    // without load every rank stays as light as it was, so the first fills first
    CHECK(pack_greedy(Loads{0, 0, 0, 0}, Ids{2, 2, 1, 1}, 2, 3).expert_ids ==
          Ids{0, 0, 1, 1, 2, 3});
}

TEST_CASE("packing may put two replicas of one expert on one rank, as upstream does") {
    const Placement placement = pack_greedy(Loads{100, 1, 1}, Ids{2, 1, 1}, 1, 4);
    CHECK(placement.expert_ids == Ids{0, 0, 1, 2});
    CHECK(num_duplicate_slots(placement) == 1);
}

TEST_CASE("shares are compared in double: float would see a tie and choose the higher id") {
    const Loads load = {5592405.5F, 16777216, 1};
    const double share = 16777216.0 / 3;
    REQUIRE(static_cast<float>(share) == load[0]);
    REQUIRE(share < static_cast<double>(load[0]));
    CHECK(replicate_greedy(load, 6) == Ids{2, 3, 1});
}

TEST_CASE("replication minimises the largest share, for every tiny load") {
    std::size_t num_checked = 0;
    const auto check = [&](int num_experts, int max_load, int max_extra) {
        for_all_loads(num_experts, max_load, [&](const Loads& load) {
            for (int extra = 0; extra <= max_extra; ++extra) {
                const int num_slots = num_experts + extra;
                const Ids counts = replicate_greedy(load, num_slots);
                const bool optimal =
                    largest_share(load, counts) == best_largest_share(load, num_slots);
                const bool complete =
                    std::accumulate(counts.begin(), counts.end(), 0) == num_slots &&
                    *std::min_element(counts.begin(), counts.end()) >= 1;
                CAPTURE(load, num_slots, counts);
                REQUIRE(optimal);
                REQUIRE(complete);
                ++num_checked;
            }
        });
    };
    check(1, 9, 6);
    check(2, 9, 6);
    check(3, 6, 6);
    check(4, 4, 5);
    check(5, 3, 5);
    CHECK(num_checked > 10000);
}

TEST_CASE("packing fills every slot with the replicas that were asked for, for every tiny load") {
    for (int num_experts = 1; num_experts <= 4; ++num_experts)
        for (int ep_size = 1; ep_size <= 4; ++ep_size)
            for (int slots_per_rank = 1; slots_per_rank <= 3; ++slots_per_rank) {
                const int num_slots = ep_size * slots_per_rank;
                if (num_slots < num_experts)
                    continue;
                for_all_loads(num_experts, 3, [&](const Loads& load) {
                    const Ids counts = replicate_greedy(load, num_slots);
                    const Placement placement = pack_greedy(load, counts, ep_size, slots_per_rank);
                    REQUIRE(placement.num_slots() == num_slots);
                    REQUIRE(replica_counts(placement.expert_ids, num_experts) == counts);
                });
            }
}

TEST_CASE("with one slot per rank no other order of replicas balances better") {
    for_all_loads(4, 4, [](const Loads& load) {
        const Ids counts = replicate_greedy(load, 6);
        const std::vector<double> loads = rank_loads(pack_greedy(load, counts, 6, 1), load, counts);
        REQUIRE(*std::max_element(loads.begin(), loads.end()) == largest_share(load, counts));
    });
}

TEST_CASE("packing four experts in pairs is optimal, for every tiny load") {
    for_all_loads(4, 5, [](const Loads& load) {
        const Ids counts(4, 1);
        const std::vector<double> loads = rank_loads(pack_greedy(load, counts, 2, 2), load, counts);
        double best = std::numeric_limits<double>::infinity();
        for (std::size_t partner = 1; partner < 4; ++partner) {
            const double pair = load[0] + load[partner];
            best = std::min(best, std::max(pair, load[0] + load[1] + load[2] + load[3] - pair));
        }
        REQUIRE(*std::max_element(loads.begin(), loads.end()) == best);
    });
}

TEST_CASE("replication and packing refuse what cannot be") {
    CHECK(error_of([] {
              replicate_greedy(Loads{1, 2, 3}, 2);
          }) == "replication: 2 slots cannot hold 3 experts");
    CHECK(error_of([] { replicate_greedy(Loads{}, 2); }) ==
          "replication: 2 slots cannot hold 0 experts");
    CHECK(error_of([] {
              pack_greedy(Loads{1, 2}, Ids{1}, 1, 1);
          }) == "packing: 2 loads but 1 replica counts");
    CHECK(error_of([] {
              pack_greedy(Loads{1, 2}, Ids{1, 2}, 2, 2);
          }) == "packing: 3 replicas for 2 ranks with 2 slots each: the numbers must agree");
}

}  // namespace eplb::test_greedy
