#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "lib/engines/engine.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/route/slot_fold.h"
#include "lib/placement/route/slot_router.h"
#include "tests/test_support.h"

namespace eplb::test_rank_load {

using eplb::EplbConfig;
using eplb::ExpertStatistics;
using eplb::IdKind;
using eplb::LayerLoad;
using eplb::projected_load;
using eplb::rank_load;
using eplb::recorded_load;
using eplb::test::error_of;

namespace {

ExpertStatistics make_statistics(std::vector<int> layers,
                                 int num_iterations,
                                 int num_sources,
                                 int num_experts) {
    ExpertStatistics statistics;
    statistics.num_experts = num_experts;
    statistics.top_k = 2;
    statistics.ep_size = num_sources;
    statistics.num_sources = num_sources;
    statistics.layers = std::move(layers);
    statistics.num_iterations = num_iterations;
    statistics.allocate();
    return statistics;
}

void fill(ExpertStatistics& statistics, unsigned seed) {
    std::mt19937 random(seed);
    for (std::int64_t& count : statistics.counts)
        count = static_cast<std::int64_t>(random() % 100);
}

// Two iterations of one layer, one source, four experts.
ExpertStatistics worked_example() {
    ExpertStatistics statistics = make_statistics({3}, 2, 1, 4);
    statistics.counts = {1, 2, 3, 6, 0, 8, 4, 0};
    return statistics;
}

ExpertStatistics fold_slots(const ExpertStatistics& slots, const EplbConfig& config) {
    return eplb::SlotFold(slots, config, "bal.yaml").fold(slots);
}

// Collects rows as statistics again.
class Collected : public eplb::RowSink {
  public:
    void begin(const ExpertStatistics& shape) override {
        statistics = shape;
        statistics.allocate();
    }
    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override {
        const int position = static_cast<int>(iteration - statistics.iter_start);
        std::ranges::copy(counts, statistics.row(position, layer, source).begin());
    }

    ExpertStatistics statistics;
};

ExpertStatistics through(eplb::RowSink& sink, const Collected& end, const ExpertStatistics& from) {
    ExpertStatistics shape = from;
    shape.counts.clear();
    sink.begin(shape);
    for (int i = 0; i < from.num_iterations; ++i)
        for (int layer = 0; layer < from.num_layers(); ++layer)
            for (int source = 0; source < from.num_sources; ++source)
                sink.add(from.iter_start + i, layer, source, from.row(i, layer, source));
    return end.statistics;
}

double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

// Statistics of experts as a recording with `assignments` would have them: routed to slots.
ExpertStatistics to_slots(const ExpertStatistics& experts,
                          const std::map<int, std::vector<int>>& assignments) {
    ExpertStatistics slots = experts;
    slots.ids = IdKind::slot;
    slots.num_experts = static_cast<int>(assignments.begin()->second.size());
    slots.allocate();
    for (int layer = 0; layer < experts.num_layers(); ++layer) {
        const int layer_id = experts.layers[layer];
        const eplb::SlotRouter router(assignments.at(layer_id), experts.num_experts);
        for (int iteration = 0; iteration < experts.num_iterations; ++iteration)
            for (int source = 0; source < experts.num_sources; ++source) {
                std::vector<std::int32_t> ids;
                const auto counts = experts.row(iteration, layer, source);
                for (int expert = 0; expert < experts.num_experts; ++expert)
                    ids.insert(ids.end(), static_cast<std::size_t>(counts[expert]), expert);
                router.route(ids, source, ids);
                for (const std::int32_t slot : ids)
                    ++slots.row(iteration, layer, source)[slot];
            }
    }
    return slots;
}

EplbConfig config_of(std::map<int, std::vector<int>> assignments) {
    EplbConfig config;
    config.num_slots = static_cast<int>(assignments.begin()->second.size());
    config.initial_global_assignments = std::move(assignments);
    return config;
}

}  // namespace

TEST_CASE("the recorded load is the counts over all sources") {
    ExpertStatistics statistics = make_statistics({3, 7}, 2, 3, 4);
    fill(statistics, 1);
    const LayerLoad load = recorded_load(statistics, 1);
    REQUIRE(load.num_iterations == 2);
    REQUIRE(load.num_bins == 4);
    for (int iteration = 0; iteration < 2; ++iteration)
        for (std::size_t expert = 0; expert < 4; ++expert) {
            std::int64_t expected = 0;
            for (int source = 0; source < 3; ++source)
                expected += statistics.row(iteration, 1, source)[expert];
            CHECK(load.iteration(iteration)[expert] == static_cast<double>(expected));
        }
}

TEST_CASE("a projection gives each replica an equal share") {
    const std::vector<int> assignment = {3, 1, 3, 0, 2, 1};
    const LayerLoad load = projected_load(worked_example(), 0, assignment);
    CHECK(load.num_iterations == 2);
    CHECK(load.num_bins == 6);
    CHECK(load.values() == std::vector<double>{3, 1, 3, 1, 3, 1, 0, 4, 0, 0, 4, 4});
}

TEST_CASE("a part has some of the iterations") {
    const LayerLoad load(3, 2, {1, 2, 3, 4, 5, 6});
    CHECK(load.part(1, 2).values() == std::vector<double>{3, 4, 5, 6});
    CHECK(load.part(1, 2).part(1, 1).iteration(0)[1] == 6);
    CHECK(load.part(3, 0).values().empty());
}

TEST_CASE("rank loads add up contiguous slots") {
    const std::vector<int> assignment = {3, 1, 3, 0, 2, 1};
    const LayerLoad slots = projected_load(worked_example(), 0, assignment);
    CHECK(rank_load(slots, 2).values() == std::vector<double>{7, 5, 4, 8});
    CHECK(rank_load(slots, 3).values() == std::vector<double>{4, 4, 4, 4, 0, 8});
    CHECK(rank_load(slots, 1).values() == std::vector<double>{12, 12});
    CHECK(rank_load(slots, 6).values() == slots.values());
    CHECK(rank_load(slots, 2).num_bins == 2);
    CHECK(rank_load(slots, 2).num_iterations == 2);
}

TEST_CASE("a rank count that does not divide the slots is refused") {
    CHECK(error_of([] { rank_load(recorded_load(worked_example(), 0), 3); }) ==
          "ep_size 3 does not divide the 4 slots");
    CHECK(!error_of([] { rank_load(recorded_load(worked_example(), 0), 0); }).empty());
}

TEST_CASE("a projection conserves tokens in every iteration") {
    ExpertStatistics statistics = make_statistics({3, 4}, 5, 2, 16);
    fill(statistics, 2);
    const std::vector<int> assignment =
        eplb::default_engine().default_placement(16, 6, 5).expert_ids;
    const LayerLoad before = recorded_load(statistics, 1);
    const LayerLoad after = projected_load(statistics, 1, assignment);
    for (int i = 0; i < 5; ++i) {
        const auto tokens = before.iteration(i);
        const auto shares = after.iteration(i);
        CHECK(sum({tokens.begin(), tokens.end()}) ==
              Approx(sum({shares.begin(), shares.end()})).epsilon(1e-12));
    }
}

TEST_CASE("routing stays within a token per source and slot of the projection") {
    ExpertStatistics statistics = make_statistics({3}, 4, 3, 8);
    // at most 1024 ids per source: one block
    fill(statistics, 3);
    const std::vector<int> assignment =
        eplb::default_engine().default_placement(8, 4, 3).expert_ids;
    const std::vector<double> routed =
        recorded_load(to_slots(statistics, {{3, assignment}}), 0).values();
    const std::vector<double> projected = projected_load(statistics, 0, assignment).values();
    REQUIRE(routed.size() == projected.size());
    for (std::size_t i = 0; i < routed.size(); ++i)
        CHECK(std::abs(routed[i] - projected[i]) < 3);
}

TEST_CASE("a projection refuses slot ids and incomplete assignments") {
    ExpertStatistics statistics = worked_example();
    CHECK(error_of([&] {
              projected_load(statistics, 0, std::vector<int>{0, 1, 2, 0});
          }) == "expert 3 stands in no slot of the assignment: every expert needs one");
    statistics.ids = IdKind::slot;
    CHECK(error_of([&] {
              projected_load(statistics, 0, std::vector<int>{0, 1, 2, 3});
          }).find("the ids are slots, not experts") != std::string::npos);
}

TEST_CASE("folding slots undoes an assignment, count by count") {
    ExpertStatistics experts = make_statistics({3, 60}, 3, 4, 6);
    experts.ids = IdKind::expert;
    fill(experts, 4);
    const std::map<int, std::vector<int>> assignments = {{3, {0, 1, 2, 3, 4, 5, 0, 0}},
                                                         {60, {5, 5, 4, 3, 2, 1, 0, 4}}};
    CHECK(fold_slots(to_slots(experts, assignments), config_of(assignments)) == experts);
}

TEST_CASE(
    "rows are folded as they come; those of a recording of experts, where some may be, are not") {
    ExpertStatistics experts = make_statistics({3, 60}, 3, 4, 6);
    experts.ids = IdKind::expert;
    experts.iter_start = 7;
    fill(experts, 4);
    const std::map<int, std::vector<int>> assignments = {{3, {0, 1, 2, 3, 4, 5, 0, 0}},
                                                         {60, {5, 5, 4, 3, 2, 1, 0, 4}}};
    eplb::ConfigInForce in_force = {config_of(assignments), "bal.yaml", false};
    Collected collected;
    eplb::FoldedRows folded(in_force, collected);
    CHECK(through(folded, collected, to_slots(experts, assignments)) == experts);
    CHECK_STARTS_WITH(error_of([&] { through(folded, collected, experts); }), "bal.yaml: ");
    in_force.may_be_of_others = true;
    CHECK(through(folded, collected, experts) == experts);
    experts.ids = IdKind::unstated;  // told by their number, which is not that of the slots
    CHECK(through(folded, collected, experts) == experts);
}

TEST_CASE("a config without assignments cannot be folded: its experts are not known") {
    ExpertStatistics slots = make_statistics({3}, 1, 2, 8);
    slots.ids = IdKind::slot;
    EplbConfig config;
    config.num_slots = 8;
    CHECK(error_of([&] { fold_slots(slots, config); }).find("no initial_global_assignments") !=
          std::string::npos);
}

TEST_CASE("folding refuses what it cannot turn back") {
    const std::vector<int> assignment = {0, 1, 2, 2};
    ExpertStatistics slots = make_statistics({3}, 1, 2, 4);
    slots.ids = IdKind::slot;
    EplbConfig config = config_of({{3, assignment}});
    REQUIRE(error_of([&] { fold_slots(slots, config); }).empty());
    const auto refusal = [&] { return error_of([&] { fold_slots(slots, config); }); };
    const auto refused_for = [&](const std::string& cause) {
        INFO(refusal());
        return refusal().find(cause) != std::string::npos;
    };

    SECTION("the ids are experts already") {
        slots.ids = IdKind::expert;
        CHECK(refused_for("the ids are experts already"));
    }
    SECTION("another number of slots") {
        config.num_slots = 6;
        CHECK(refused_for("bal.yaml: has num_slots 6, but the statistics hold 4 ids"));
    }
    SECTION("experts moved by the recording's own word") {
        slots.layer_updates_per_iter = 1;
        CHECK(refused_for("experts moved between slots during the recording"));
    }
    SECTION("experts moved by the config's word") {
        config.layer_updates_per_iter = 2;
        CHECK(refused_for("experts moved between slots during the recording"));
    }
    SECTION("a layer is missing in the config") {
        config.initial_global_assignments = {{4, assignment}};
        CHECK(refused_for("layer 3 of the config: missing in initial_global_assignments"));
    }
    SECTION("a layer has too few entries") {
        config.initial_global_assignments[3] = {0, 1, 2};
        CHECK(refused_for("layer 3 of the config: 3 entries, but num_slots is 4"));
    }
    SECTION("a layer lacks an expert") {
        config.initial_global_assignments[3] = {0, 1, 3, 3};
        CHECK(refused_for("layer 3 of the config: expert 2 stands in no slot"));
    }
    SECTION("a negative id") {
        config.initial_global_assignments[3] = {0, 1, -1, 2};
        CHECK(refused_for("layer 3 of the config: expert id -1"));
    }
}

}  // namespace eplb::test_rank_load
