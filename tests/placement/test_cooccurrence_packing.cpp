#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/placement/upstream/cooccurrence_packing.h"
#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"
#include "tests/test_support.h"

namespace eplb::test_cooccurrence_packing {

using eplb::pack_cooccurrence;
using eplb::pack_greedy;
using eplb::Placement;
using eplb::replica_counts;
using eplb::replicate_greedy;
using eplb::test::error_of;

namespace {

using Floats = std::vector<float>;
using Ids = std::vector<int>;

}  // namespace

TEST_CASE("packing by cooccurrence agrees with an oracle written from the rules") {
    const auto fixture = nlohmann::json::parse(
        eplb::test::read_text(eplb::test::test_data() / "placement" / "cooccurrence.json"));
    int num_ran_out = 0;
    REQUIRE(fixture["cases"].size() > 150);
    for (const auto& expected : fixture["cases"]) {
        const int num_slots = expected["num_slots"];
        const int ep_size = expected["ep_size"];
        const Placement placement =
            pack_cooccurrence(expected["load"].get<Floats>(), expected["replica_count"].get<Ids>(),
                              expected["cooccurrence"].get<Floats>(), ep_size, num_slots / ep_size,
                              expected["alpha"].get<double>());
        CHECK(placement.expert_ids == expected["expert_ids"].get<Ids>());
        num_ran_out += expected["ran_out"].get<bool>();
    }
    CHECK(num_ran_out > 0);
}

TEST_CASE("experts of one token come to one rank") {
    // 0 with 3, 1 with 2: by hand, rank 0 takes 0 and its partner, rank 1 takes 1 and its own
    const Floats pairs = {0, 1, 1, 9,   //
                          1, 0, 9, 1,   //
                          1, 9, 0, 1,   //
                          9, 1, 1, 0};  //
    const Floats load = {4, 4, 4, 4};
    const Ids once(4, 1);
    CHECK(pack_cooccurrence(load, once, pairs, 2, 2, 1.0).expert_ids == Ids{0, 3, 1, 2});
    // 0.8 of two slots is one: the second goes by load alone
    CHECK(pack_cooccurrence(load, once, pairs, 2, 2).expert_ids == Ids{0, 2, 1, 3});
}

TEST_CASE("the first candidate that does not fit ends the rank") {
    // after 0, rank 0 asks for 1, which is too heavy; 2 weighs nothing, and yet is not tried
    const Floats pairs = {0, 9, 5, 0,   //
                          9, 0, 3, 0,   //
                          5, 3, 0, 0,   //
                          0, 0, 0, 0};  //
    const Floats load = {6, 5, 0, 1};
    CHECK(pack_cooccurrence(load, Ids(4, 1), pairs, 2, 2, 1.0).expert_ids == Ids{0, 3, 1, 2});
}

TEST_CASE("a rank takes an expert again only after all others, whatever the diagonal says") {
    const Floats pairs = {99, 1, 1, 99};
    CHECK(pack_cooccurrence(Floats{8, 4}, Ids{2, 2}, pairs, 2, 2, 1.0).expert_ids ==
          Ids{0, 1, 0, 1});
    CHECK(pack_cooccurrence(Floats{8, 4}, Ids{3, 1}, pairs, 1, 4, 1.0).expert_ids ==
          Ids{1, 0, 0, 0});
}

TEST_CASE("alpha 0 leaves all to the least loaded rank") {
    const Floats load = {9, 7, 5, 3, 2, 2};
    const Ids counts = replicate_greedy(load, 9);
    const Floats pairs(36, 1);
    CHECK(pack_cooccurrence(load, counts, pairs, 3, 3, 0) == pack_greedy(load, counts, 3, 3));
}

TEST_CASE("a placement is complete where upstream runs out of replicas") {
    const Floats pairs(9, 1);
    const Placement placement = pack_cooccurrence(Floats{1, 1, 1}, Ids(3, 1), pairs, 3, 1, 1.0);
    CHECK(placement.expert_ids == Ids{0, 1, 2});
}

TEST_CASE("packing by cooccurrence fills every slot with the replicas that were asked for") {
    for (int num_experts = 1; num_experts <= 4; ++num_experts)
        for (int ep_size = 1; ep_size <= 4; ++ep_size)
            for (int slots_per_rank = 1; slots_per_rank <= 3; ++slots_per_rank)
                for (const double alpha : {0.0, 0.5, 0.8, 1.0})
                    for (int seed = 0; seed < 20; ++seed) {
                        if (ep_size * slots_per_rank < num_experts)
                            continue;
                        Floats load;
                        for (int expert = 0; expert < num_experts; ++expert)
                            load.push_back(static_cast<float>((seed * (expert + 3) + expert) % 5));
                        Floats pairs;
                        for (int i = 0; i < num_experts * num_experts; ++i)
                            pairs.push_back(static_cast<float>((seed + i * i) % 7));
                        const Ids counts = replicate_greedy(load, ep_size * slots_per_rank);
                        const Placement placement =
                            pack_cooccurrence(load, counts, pairs, ep_size, slots_per_rank, alpha);
                        REQUIRE(replica_counts(placement.expert_ids, num_experts) == counts);
                    }
}

TEST_CASE("packing by cooccurrence refuses what cannot be") {
    const Floats load = {1, 2};
    const Floats pairs(4);
    const std::string subject = "cooccurrence packing: ";
    CHECK(error_of([&] { pack_cooccurrence(load, Ids{1}, pairs, 1, 1); }) ==
          subject + "2 loads but 1 replica counts");
    CHECK(error_of([&] {
              pack_cooccurrence(load, Ids{1, 1}, Floats(3), 1, 2);
          }) == subject + "a matrix of 3 entries for 2 experts");
    CHECK(error_of([&] {
              pack_cooccurrence(load, Ids{1, 2}, pairs, 2, 2);
          }) == subject + "3 replicas for 2 ranks with 2 slots each: the numbers must agree");
    CHECK(error_of([&] {
              pack_cooccurrence(load, Ids{3, -1}, pairs, 1, 2);
          }) == subject + "a negative replica count");
    for (const double alpha : {-0.1, 1.01, std::nan("")})
        CHECK_STARTS_WITH(error_of([&] {
                              pack_cooccurrence(load, Ids{1, 1}, pairs, 1, 2, alpha);
                          }),
                          subject + "alpha must be from 0 to 1");
    for (const float bad : {-1.0F, std::nanf(""), INFINITY})
        CHECK_STARTS_WITH(error_of([&] {
                              pack_cooccurrence(Floats{1, bad}, Ids{1, 1}, pairs, 1, 2);
                          }),
                          subject + "loads must be finite and >= 0");
    CHECK_STARTS_WITH(error_of([&] {
                          pack_cooccurrence(load, Ids{1, 1}, Floats{0, INFINITY, 0, 0}, 1, 2);
                      }),
                      subject + "loads must be finite and >= 0, cooccurrence must be finite");
}

}  // namespace eplb::test_cooccurrence_packing
