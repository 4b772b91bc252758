#include "lib/collect/expert_layout.h"
#include "lib/engines/engine.h"

#include <algorithm>
#include <random>
#include <set>

#include "tests/collect/runs.h"
#include "tests/test_support.h"

namespace eplb::test_expert_layout {

namespace {

// What devices hold, and what places are numbered after: (device, expert), ascending.
std::set<std::pair<int, int>> held_experts(const Placement& placement, int num_devices) {
    std::set<std::pair<int, int>> held;
    const int ranks_per_device = placement.ep_size / num_devices;
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        held.emplace(slot / placement.slots_per_rank / ranks_per_device,
                     placement.expert_ids[slot]);
    return held;
}

void check_places(const ExpertPlaces& places,
                  const std::set<std::pair<int, int>>& held,
                  int num_experts,
                  int num_devices) {
    REQUIRE(places.num_devices() == num_devices);
    REQUIRE(places.num_places() == static_cast<int>(held.size()));
    REQUIRE(static_cast<int>(places.begin().size()) == num_devices + 1);
    std::vector<int> first_place(num_experts, -1);
    bool are_experts = true;
    int place = 0;
    std::vector<std::vector<int>> experts(num_devices);
    for (const auto& [device, expert] : held) {
        REQUIRE(places.place(device, expert) == place);
        REQUIRE(place >= places.begin()[device]);
        REQUIRE(place < places.begin()[device + 1]);
        if (first_place[expert] < 0)
            first_place[expert] = place;
        are_experts = are_experts && place == expert;
        experts[device].push_back(expert);
        ++place;
    }
    for (int device = 0; device < num_devices; ++device) {
        REQUIRE(places.experts(device) == experts[device]);
        for (int expert = 0; expert < num_experts; ++expert)
            REQUIRE(places.holds(device, expert) == held.contains({device, expert}));
    }
    for (int expert = 0; expert < num_experts; ++expert)
        REQUIRE(places.place_of_expert(expert) == first_place[expert]);
    REQUIRE(places.are_experts() == are_experts);
}

// every expert somewhere, the rest anywhere: the same expert twice on a rank, too
Placement random_placement(int num_experts,
                           int ep_size,
                           int slots_per_rank,
                           std::mt19937& generator) {
    Placement placement = {ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(
            slot < num_experts
                ? slot
                : static_cast<int>(generator() % static_cast<unsigned>(num_experts)));
    std::shuffle(placement.expert_ids.begin(), placement.expert_ids.end(), generator);
    return placement;
}

}  // namespace

TEST_CASE("a device holds each expert of its ranks' slots once") {
    std::mt19937 generator(5);
    for (int round = 0; round < 50; ++round)
        for (const int num_experts : {1, 6, 12})
            for (const int num_devices : {1, 2, 3, 6}) {
                const Placement placement =
                    random_placement(num_experts, 6, num_experts / 6 + 1 + round % 3, generator);
                const ExpertPlaces places(placement, num_experts, num_devices);
                check_places(places, held_experts(placement, num_devices), num_experts,
                             num_devices);
                for (int slot = 0; slot < placement.num_slots(); ++slot) {
                    const int device = slot / (placement.num_slots() / num_devices);
                    REQUIRE(places.place_of_slot(slot) ==
                            places.place(device, placement.expert_ids[slot]));
                }
            }
}

TEST_CASE("places are experts where these lie in order, once each") {
    std::mt19937 generator(6);
    // one device, whatever the placement
    CHECK(ExpertPlaces(random_placement(8, 4, 5, generator), 8, 1).are_experts());
    CHECK(ExpertPlaces(default_engine().default_placement(8, 4, 2), 8, 4).are_experts());
    // twice on a rank is once on its device
    CHECK(ExpertPlaces({2, 3, {0, 1, 0, 2, 3, 3}}, 4, 2).are_experts());
    CHECK_FALSE(ExpertPlaces({2, 3, {0, 1, 2, 2, 3, 3}}, 4, 2).are_experts());
    CHECK_FALSE(ExpertPlaces({2, 2, {0, 2, 1, 3}}, 4, 2).are_experts());
}

TEST_CASE("experts in order are dealt out evenly, to some devices none where there are too few") {
    for (const int num_experts : {1, 5, 8, 64})
        for (const int num_devices : {1, 2, 3, 8, 11}) {
            std::set<std::pair<int, int>> held;
            for (int expert = 0; expert < num_experts; ++expert)
                held.emplace(expert * num_devices / num_experts, expert);
            const ExpertPlaces places = ExpertPlaces::in_order(num_experts, num_devices);
            check_places(places, held, num_experts, num_devices);
            CHECK(places.are_experts());
            for (int device = 0; device < num_devices; ++device) {
                const auto size = static_cast<int>(places.experts(device).size());
                CHECK(size >= num_experts / num_devices);
                CHECK(size <= (num_experts + num_devices - 1) / num_devices);
            }
        }
}

TEST_CASE("experts stand as the config says, else as the engine puts them") {
    const MoeModelConfig model = test::small_preset().model;
    const auto lay_out = [&](const std::optional<EplbConfig>& config,
                             LoopOrder order = LoopOrder::by_iteration) {
        return lay_out_experts(model, 8, config, 4, order);
    };
    const ExpertLayout plain = lay_out({});
    CHECK(plain.num_slots == 256);
    CHECK_FALSE(plain.has_config);
    CHECK(plain.placements ==
          std::vector<Placement>(4, default_engine().default_placement(256, 8, 32)));
    CHECK(plain.places.size() == 4);
    CHECK(plain.experts_of(1).front().front() == 64);

    const ExpertLayout without_assignments = lay_out(test::default_config(264, 0));
    CHECK(without_assignments.num_slots == 264);
    CHECK(without_assignments.has_config);
    CHECK(without_assignments.placements ==
          std::vector<Placement>(4, default_engine().default_placement(256, 8, 33)));

    for (const int updates : {0, 2}) {
        const EplbConfig config = test::shuffled_config(model, 280, updates);
        for (const LoopOrder order : {LoopOrder::by_iteration, LoopOrder::by_layer}) {
            const ExpertLayout layout = lay_out(config, order);
            CHECK(layout.layer_updates_per_iter == updates);
            for (int i = 0; i < 4; ++i) {
                const std::vector<int>& expert_ids =
                    config.initial_global_assignments.at(model.layers[i]);
                CHECK(layout.placements[i] == Placement{8, 35, expert_ids});
                // no placement stays while all iterations go through a layer
                const bool in_order = order == LoopOrder::by_layer && updates > 0;
                const ExpertPlaces places = in_order ? ExpertPlaces::in_order(256, 4)
                                                     : ExpertPlaces({8, 35, expert_ids}, 256, 4);
                for (int device = 0; device < 4; ++device)
                    CHECK(layout.places[i].experts(device) == places.experts(device));
            }
        }
    }
}

TEST_CASE("a config that does not fit the model is refused with the reason") {
    const MoeModelConfig model = test::small_preset().model;
    const auto error_of = [&](int ep_size, const std::optional<EplbConfig>& config,
                              int num_devices = 1) {
        return test::error_of(
            [&] { lay_out_experts(model, ep_size, config, num_devices, LoopOrder::by_iteration); });
    };
    CHECK_STARTS_WITH(error_of(36, {}), "256 experts on 36 ranks");
    CHECK_THROWS_AS(lay_out_experts(model, 36, {}, 1, LoopOrder::by_layer), UsageError);
    EplbConfig config = test::shuffled_config(model, 280, 0);
    CHECK_STARTS_WITH(error_of(36, config), "280 slots on 36 ranks");
    config.initial_global_assignments.erase(model.layers[2]);
    CHECK(error_of(8, config).find("layer 5: has no assignment") != std::string::npos);
    config = test::shuffled_config(model, 280, 0);
    config.initial_global_assignments[4].push_back(3);
    CHECK(error_of(8, config).find("layer 4: 281 entries") != std::string::npos);
    config = test::shuffled_config(model, 280, 0);
    for (int& expert : config.initial_global_assignments[4])
        expert = expert == 17 ? 0 : expert;
    CHECK(error_of(8, config).find("layer 4: expert 17 stands in no slot") != std::string::npos);
    config.initial_global_assignments[4][0] = 256;
    CHECK(error_of(8, config).find("layer 4: ") != std::string::npos);
    CHECK(error_of(8, test::default_config(128, 0)).find("below the model's 256 experts") !=
          std::string::npos);
    CHECK(error_of(8, {}, 3) ==
          "ep_size 8 cannot be dealt out to 3 devices; start as many as divide it");
}

}  // namespace eplb::test_expert_layout
