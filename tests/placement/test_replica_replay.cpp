#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/replica_replay.h"
#include "tests/test_support.h"

namespace eplb::test_replica_replay {

namespace {

using Ids = std::vector<std::int32_t>;

constexpr int kNumExperts = 12;
constexpr int kNumIterations = 3;
constexpr int kNumSources = 5;

struct Recording {
    ExpertStatistics statistics;  // per source rank
    RoutedIds routed;
};

// num_ids of every cell; those of -1 are not routed.
Recording random_recording(std::mt19937& random, std::size_t num_ids, int num_layers) {
    Recording recording;
    ExpertStatistics& statistics = recording.statistics;
    statistics.num_experts = kNumExperts;
    statistics.top_k = 1;
    statistics.ep_size = statistics.num_sources = kNumSources;
    for (int layer = 0; layer < num_layers; ++layer)
        statistics.layers.push_back(3 + layer);
    statistics.iter_start = 40;
    statistics.num_iterations = kNumIterations;
    statistics.allocate();
    RoutedIds& routed = recording.routed;
    routed.top_k = 1;
    routed.ep_size = kNumSources;
    routed.layers = statistics.layers;
    routed.iter_start = 40;
    routed.num_iterations = kNumIterations;
    for (int i = 0; i < kNumIterations; ++i)
        for (int layer = 0; layer < num_layers; ++layer)
            for (int source = 0; source < kNumSources; ++source) {
                Ids& ids = routed.ids.emplace_back();
                for (std::size_t n = 0; n < num_ids; ++n) {
                    // skewed, some not routed
                    const auto draw = random() % (kNumExperts + 1);
                    const auto id = std::min(draw, random() % (kNumExperts + 1));
                    ids.push_back(static_cast<std::int32_t>(id) - 1);
                    if (id > 0)
                        ++statistics.row(i, layer, source)[id - 1];
                }
            }
    return recording;
}

Placement random_placement(std::mt19937& random, int ep_size, int slots_per_rank) {
    Placement placement{ep_size, slots_per_rank, {}};
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        placement.expert_ids.push_back(
            slot < kNumExperts ? slot : static_cast<int>(random() % kNumExperts));
    std::shuffle(placement.expert_ids.begin(), placement.expert_ids.end(), random);
    return placement;
}

void add_all_counts(ReplicaReplay& replay, const ExpertStatistics& statistics, int num_threads) {
    ThreadPool threads(num_threads);
    threads.for_each(statistics.num_iterations, [&](std::int64_t iteration) {
        const auto i = static_cast<int>(iteration);
        for (int source = 0; source < kNumSources; ++source)
            for (int layer = 0; layer < statistics.num_layers(); ++layer)
                replay.add_counts(statistics.iter_start + i, layer, source,
                                  statistics.row(i, layer, source));
    });
}

void add_all_ids(ReplicaReplay& replay, const RoutedIds& routed) {
    for (int i = 0; i < routed.num_iterations; ++i)
        for (int source = 0; source < routed.ep_size; ++source)
            for (int layer = 0; layer < static_cast<int>(routed.layers.size()); ++layer)
                replay.add_ids(routed.iter_start + i, layer, source, routed.cell(i, layer, source));
}

// The kernel's formula, id by id: the n-th of its expert in its block goes to the replica
// (n + block + source rank) mod R.
LayerLoad load_by_formula(const RoutedIds& routed, int layer, const Placement& placement) {
    const int num_slots = placement.num_slots();
    std::vector<double> load(routed.num_iterations * num_slots);
    for (int i = 0; i < routed.num_iterations; ++i)
        for (int source = 0; source < routed.ep_size; ++source) {
            const Ids& ids = routed.cell(i, layer, source);
            for (std::size_t position = 0; position < ids.size(); ++position) {
                const std::size_t block = position / 1024;
                const auto before = static_cast<std::size_t>(
                    std::count(ids.begin() + static_cast<std::ptrdiff_t>(block * 1024),
                               ids.begin() + position, ids[position]));
                std::vector<int> slots;
                for (int slot = 0; slot < placement.num_slots(); ++slot)
                    if (placement.expert_ids[slot] == ids[position])
                        slots.push_back(slot);
                if (slots.empty())
                    continue;
                const int slot =
                    slots[(before + block + static_cast<std::size_t>(source)) % slots.size()];
                load[i * num_slots + slot] += 1;
            }
        }
    return {routed.num_iterations, num_slots, std::move(load)};
}

// What a replay makes of one layer.
LayerLoad replayed(const ReplicaReplay& replay, const ExpertStatistics& statistics, int layer) {
    return replay.slot_load(recorded_load(statistics, layer), statistics.iter_start, layer);
}

}  // namespace

TEST_CASE("of ids in one block, counts tell as much as the ids") {
    std::mt19937 random(1);
    for (const std::size_t num_ids : {0, 1, 17, 300, 1024})
        for (const int slots_per_rank : {3, 4, 7, 15}) {
            const Recording recording = random_recording(random, num_ids, 2);
            const std::vector<Placement> placements = {random_placement(random, 4, slots_per_rank),
                                                       random_placement(random, 4, slots_per_rank)};
            ReplicaReplay from_counts(placements, kNumExperts, 40, kNumIterations);
            add_all_counts(from_counts, recording.statistics, 1);
            ReplicaReplay from_ids(placements, kNumExperts, 40, kNumIterations);
            from_ids.restart_from_ids();
            add_all_ids(from_ids, recording.routed);
            REQUIRE(from_counts.is_exact());
            CHECK(!from_counts.is_from_ids());
            CHECK(from_counts.has_replicas() == (slots_per_rank > 3));
            for (int layer = 0; layer < 2; ++layer) {
                const LayerLoad expected =
                    load_by_formula(recording.routed, layer, placements[layer]);
                const LayerLoad counted = replayed(from_counts, recording.statistics, layer);
                CHECK(counted.values() == expected.values());
                CHECK(counted.num_bins == 4 * slots_per_rank);
                CHECK(counted.num_iterations == kNumIterations);
                CHECK(replayed(from_ids, recording.statistics, layer).values() ==
                      expected.values());
            }
        }
}

TEST_CASE("more than a block is replayed from ids alone") {
    std::mt19937 random(2);
    const Recording recording = random_recording(random, 3000, 1);
    const Placement placement = random_placement(random, 4, 5);
    ReplicaReplay replay({placement}, kNumExperts, 40, kNumIterations);
    add_all_counts(replay, recording.statistics, 1);
    REQUIRE(!replay.is_exact());
    replay.restart_from_ids();
    add_all_ids(replay, recording.routed);
    CHECK(replay.is_exact());
    CHECK(replay.is_from_ids());
    CHECK(replayed(replay, recording.statistics, 0).values() ==
          load_by_formula(recording.routed, 0, placement).values());
}

TEST_CASE("a block holds 1024 ids; one more is not exact") {
    std::vector<std::int64_t> counts(kNumExperts);
    std::mt19937 random(3);
    const Placement placement = random_placement(random, 4, 8);
    counts[0] = 1000;
    counts[1] = 24;
    ReplicaReplay full({placement}, kNumExperts, 0, 1);
    full.add_counts(0, 0, 0, counts);
    CHECK(full.is_exact());
    counts[1] = 25;
    full.add_counts(0, 0, 1, counts);
    CHECK(!full.is_exact());
    counts[1] = 0;
    full.add_counts(0, 0, 2, counts);
    CHECK(!full.is_exact());
}

TEST_CASE("where no expert with replicas has tokens, any number of ids is exact") {
    // expert 0 has two replicas, the others one
    const Placement placement{2, 2, {0, 1, 0, 2}};
    ReplicaReplay replay({placement}, 3, 0, 1);
    replay.add_counts(0, 0, 0, std::vector<std::int64_t>{0, 5000, 70000});
    CHECK(replay.is_exact());
    replay.add_counts(0, 0, 1, std::vector<std::int64_t>{1, 0, 1022});
    CHECK(replay.is_exact());
    ExpertStatistics summed;
    summed.num_experts = 3;
    summed.layers = {0};
    summed.num_iterations = summed.num_sources = 1;
    summed.counts = {1, 5000, 71022};
    // source rank 1 begins at the second replica
    CHECK(replayed(replay, summed, 0).values() == std::vector<double>{0, 5000, 1, 71022});
    replay.add_counts(0, 0, 1, std::vector<std::int64_t>{1, 0, 1024});
    CHECK(!replay.is_exact());
}

TEST_CASE("a replay is the same for any number of threads, and where iterations are not known") {
    std::mt19937 random(4);
    const Recording recording = random_recording(random, 700, 3);
    std::vector<Placement> placements;
    for (int layer = 0; layer < 3; ++layer)
        placements.push_back(random_placement(random, 6, 5));
    ReplicaReplay one(placements, kNumExperts, 40, kNumIterations);
    ReplicaReplay several(placements, kNumExperts, 40, kNumIterations);
    ReplicaReplay unknown(placements, kNumExperts, 40, 0);
    add_all_counts(one, recording.statistics, 1);
    add_all_counts(several, recording.statistics, 4);
    add_all_counts(unknown, recording.statistics, 1);
    for (int layer = 0; layer < 3; ++layer) {
        const LayerLoad expected = replayed(one, recording.statistics, layer);
        CHECK(replayed(several, recording.statistics, layer).values() == expected.values());
        CHECK(replayed(unknown, recording.statistics, layer).values() == expected.values());
    }
}

TEST_CASE("a recording's later iterations are found by their ids") {
    std::mt19937 random(5);
    const Recording recording = random_recording(random, 100, 1);
    const Placement placement = random_placement(random, 4, 5);
    ReplicaReplay replay({placement}, kNumExperts, 40, kNumIterations);
    add_all_counts(replay, recording.statistics, 1);
    ExpertStatistics last = recording.statistics;
    last.iter_start = 42;
    last.num_iterations = 1;
    last.counts.erase(last.counts.begin(), last.counts.begin() + 2 * kNumSources * kNumExperts);
    const LayerLoad whole = replayed(replay, recording.statistics, 0);
    const auto expected = whole.iteration(2);
    CHECK(replayed(replay, last, 0).values() ==
          std::vector<double>(expected.begin(), expected.end()));
}

}  // namespace eplb::test_replica_replay
