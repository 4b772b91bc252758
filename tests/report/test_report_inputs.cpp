#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/formats/configs/eplb_config.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/placement/plan/planner.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/views/views.h"
#include "tests/test_support.h"
#include "tools/output.h"
#include "tools/report_inputs.h"

namespace eplb::test_report_inputs {

using eplb::test::error_of;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

constexpr int kNumExperts = 8;

struct Recording {
    ExpertStatistics statistics;
    RoutedIds routed;
};

// Two layers, four source ranks, three iterations; skewed.
Recording random_recording(std::size_t num_ids) {
    std::mt19937 random(6);
    Recording recording;
    ExpertStatistics& statistics = recording.statistics;
    statistics.num_experts = kNumExperts;
    statistics.top_k = 2;
    statistics.ep_size = statistics.num_sources = 4;
    statistics.layers = {3, 10};
    statistics.iter_start = 7;
    statistics.num_iterations = 3;
    statistics.allocate();
    recording.routed = {2, 4, {3, 10}, 7, 3, {}};
    for (int i = 0; i < 3; ++i)
        for (int layer = 0; layer < 2; ++layer)
            for (int source = 0; source < 4; ++source) {
                std::vector<std::int32_t>& ids = recording.routed.ids.emplace_back();
                for (std::size_t n = 0; n < num_ids; ++n) {
                    const auto id = std::min(random() % kNumExperts, random() % kNumExperts);
                    ids.push_back(static_cast<std::int32_t>(id));
                    ++statistics.row(i, layer, source)[id];
                }
            }
    return recording;
}

// Experts 0 to 3 have two replicas; layer 10 in another order.
EplbConfig config_of_12_slots() {
    EplbConfig config;
    config.num_slots = 12;
    config.initial_global_assignments[3] = {0, 1, 4, 2, 3, 5, 0, 1, 6, 2, 3, 7};
    config.initial_global_assignments[10] = {3, 7, 2, 6, 1, 5, 0, 4, 3, 2, 1, 0};
    return config;
}

// By the kernel's formula, one id after the other: [num_iterations][num_slots].
std::vector<double> routed_load(const RoutedIds& routed,
                                int layer,
                                const std::vector<int>& expert_ids) {
    const SlotRouter router(expert_ids, kNumExperts);
    std::vector<double> load(3 * expert_ids.size());
    for (int i = 0; i < 3; ++i)
        for (int source = 0; source < 4; ++source) {
            const auto& ids = routed.cell(i, layer, source);
            for (std::size_t n = 0; n < ids.size(); ++n) {
                std::int64_t before = 0;
                for (std::size_t m = n / 1024 * 1024; m < n; ++m)
                    before += ids[m] == ids[n];
                const auto replica =
                    replica_of(before, static_cast<std::int64_t>(n / 1024), source,
                               static_cast<std::int32_t>(router.num_replicas(ids[n])));
                const std::int32_t slot = router.replica_slots(ids[n])[replica];
                load[static_cast<std::size_t>(i) * expert_ids.size() +
                     static_cast<std::size_t>(slot)] += 1;
            }
        }
    return load;
}

// A recording and configs on disk, and what the tool makes of them.
struct Scene {
    TemporaryFolder folder;
    ReportOptions options;

    explicit Scene(const Recording& recording, bool has_ids = true) {
        TrtllmStatisticsFolder(folder / "stats")
            .write(recording.statistics, has_ids ? &recording.routed : nullptr);
        options.expert_statistic_paths = {(folder / "stats").string()};
        options.ep_size = 4;
    }

    void add_config(const std::string& name, const EplbConfig& config) {
        write_text(folder / name, format_eplb_config(config));
        options.config_paths.push_back((folder / name).string());
    }

    ReportInput load(int num_threads = 1) const {
        const cli::Output out("eplb-report");
        ThreadPool threads(num_threads);
        return load_report_inputs(out, options, threads).front();
    }
};

// What a replay makes of one layer.
LayerLoad replayed(const ReplicaReplay& replay, const ExpertStatistics& statistics, int layer) {
    return replay.slot_load(recorded_load(statistics, layer), statistics.iter_start, layer);
}

}  // namespace

TEST_CASE("a projection of one block per source rank is replayed from counts") {
    const Recording recording = random_recording(1024);
    const EplbConfig config = config_of_12_slots();
    for (const bool has_ids : {false, true}) {
        Scene scene(recording, has_ids);
        scene.add_config("eplb.yaml", config);
        for (const int num_threads : {1, 3}) {
            const ReportInput input = scene.load(num_threads);
            REQUIRE(input.projected.size() == 1);
            const Subject& subject = input.projected.front();
            CHECK(subject.split == ReplicaSplit::replayed_from_counts);
            for (int layer = 0; layer < 2; ++layer)
                CHECK(subject.slot_load[layer].values() ==
                      routed_load(recording.routed, layer,
                                  config.initial_global_assignments.at(layer == 0 ? 3 : 10)));
        }
    }
}

TEST_CASE("a projection of several blocks is replayed from routed ids, else split equally") {
    const Recording recording = random_recording(2500);
    const EplbConfig config = config_of_12_slots();
    Scene with_ids(recording);
    with_ids.add_config("eplb.yaml", config);
    for (const int num_threads : {1, 3}) {
        const Subject subject = with_ids.load(num_threads).projected.front();
        CHECK(subject.split == ReplicaSplit::replayed_from_ids);
        for (int layer = 0; layer < 2; ++layer)
            CHECK(subject.slot_load[layer].values() ==
                  routed_load(recording.routed, layer,
                              config.initial_global_assignments.at(layer == 0 ? 3 : 10)));
    }

    Scene without_ids(recording, false);
    without_ids.add_config("eplb.yaml", config);
    const Subject equal = without_ids.load().projected.front();
    CHECK(equal.split == ReplicaSplit::equal_without_ids);
    with_ids.options.equal_split = true;
    const Subject asked = with_ids.load().projected.front();
    CHECK(asked.split == ReplicaSplit::equal);
    for (int layer = 0; layer < 2; ++layer) {
        const auto i = static_cast<std::size_t>(layer);
        const auto& expert_ids = config.initial_global_assignments.at(layer == 0 ? 3 : 10);
        std::vector<double> expected;
        for (int iteration = 0; iteration < 3; ++iteration)
            for (const int expert : expert_ids) {
                std::int64_t sum = 0;
                for (int source = 0; source < 4; ++source)
                    sum += recording.statistics.row(iteration, layer, source)[expert];
                expected.push_back(static_cast<double>(sum) / (expert < 4 ? 2 : 1));
            }
        CHECK(equal.slot_load[i].values() == expected);
        CHECK(asked.slot_load[i].values() == expected);
    }
}

TEST_CASE("routed ids that are not those counted are no ground for a replay") {
    Recording recording = random_recording(2500);
    recording.routed.cell(1, 1, 2)[17] ^= 1;
    Scene scene(recording);
    scene.add_config("eplb.yaml", config_of_12_slots());
    const std::string error = error_of([&] { scene.load(); });
    CHECK_STARTS_WITH(error, (scene.folder / "stats").string() + ": key \"8_10\": id ");
    CHECK(
        error.ends_with("remove the token_selected_experts files, or give --equal_split, which "
                        "needs none"));
    scene.options.equal_split = true;
    CHECK(scene.load().projected.front().split == ReplicaSplit::equal);
}

TEST_CASE("several configs and a choice of layers are projected in one pass") {
    const Recording recording = random_recording(900);
    EplbConfig only_10 = config_of_12_slots();
    only_10.initial_global_assignments.erase(3);
    EplbConfig plain;
    plain.num_slots = 8;
    plain.initial_global_assignments[10] = {7, 6, 5, 4, 3, 2, 1, 0};
    Scene scene(recording);
    scene.add_config("only_10.yaml", only_10);
    scene.add_config("plain.yaml", plain);
    scene.options.layers = {10};
    const ReportInput input = scene.load(2);
    CHECK(input.statistics.layers == std::vector<int>{10});
    REQUIRE(input.projected.size() == 2);
    CHECK(input.projected[0].layers == std::vector<int>{10});
    CHECK(input.projected[0].split == ReplicaSplit::replayed_from_counts);
    CHECK(input.projected[1].split == ReplicaSplit::none);
    CHECK(input.projected[0].slot_load[0].values() ==
          routed_load(recording.routed, 1, only_10.initial_global_assignments.at(10)));
    CHECK(input.projected[1].slot_load[0].values() ==
          routed_load(recording.routed, 1, plain.initial_global_assignments.at(10)));

    scene.options.layers = {3, 10};
    CHECK(error_of([&] { scene.load(); }) ==
          (scene.folder / "only_10.yaml").string() +
              ": has no assignment for layer 3; leave the layer out with --layers, or add it with "
              "eplb-gen --fill_layers");
}

TEST_CASE("a stream is projected as the folder is, some iterations too") {
    const Recording recording = random_recording(1000);
    Scene scene(recording);
    scene.add_config("eplb.yaml", config_of_12_slots());
    {
        OutputFile output((scene.folder / "s.jsonl").string());
        StatisticsStreamWriter writer(recording.statistics, output);
        for (const int i : {2, 0, 1})
            writer.write_iteration(recording.statistics, i);
        writer.write_end(3);
        output.commit();
    }
    for (const int start : {7, 8}) {
        scene.options.statistics.iter_start = start;
        scene.options.expert_statistic_paths = {(scene.folder / "stats").string()};
        const Subject expected = scene.load().projected.front();
        scene.options.expert_statistic_paths = {(scene.folder / "s.jsonl").string()};
        const Subject subject = scene.load().projected.front();
        CHECK(subject.split == ReplicaSplit::replayed_from_counts);
        CHECK(subject.num_iterations == 10 - start);
        for (std::size_t layer = 0; layer < 2; ++layer)
            CHECK(subject.slot_load[layer].values() == expected.slot_load[layer].values());
    }
}

TEST_CASE("slot ids are folded before they are projected") {
    // what 8 slots of 4 experts recorded; projected onto another config
    const Recording recording = random_recording(1000);
    ExpertStatistics slots = recording.statistics;
    slots.ids = IdKind::slot;
    RoutedIds experts = recording.routed;
    for (auto& ids : experts.ids)
        for (std::int32_t& id : ids)
            id %= 4;
    EplbConfig in_force;
    in_force.num_slots = 8;
    in_force.initial_global_assignments[3] =
        in_force.initial_global_assignments[10] = {0, 1, 2, 3, 0, 1, 2, 3};
    EplbConfig config;
    config.num_slots = 12;
    config.initial_global_assignments[3] =
        config.initial_global_assignments[10] = {0, 1, 2, 3, 3, 3, 3, 3, 0, 0, 1, 0};
    Scene scene({slots, recording.routed});
    scene.add_config("eplb.yaml", config);
    CHECK_STARTS_WITH(error_of([&] { scene.load(); }),
                      (scene.folder / "stats").string() + ": holds the slot ids of a run");
    write_text(scene.folder / "in_force.yaml", format_eplb_config(in_force));
    scene.options.statistics.load_balancer = (scene.folder / "in_force.yaml").string();
    const Subject subject = scene.load().projected.front();
    CHECK(subject.split == ReplicaSplit::replayed_from_counts);
    CHECK(subject.num_experts == 4);
    ReplicaReplay replay(subject.placements, 4, 7, 3);
    replay.restart_from_ids();
    for (int i = 0; i < 3; ++i)
        for (int layer = 0; layer < 2; ++layer)
            for (int source = 0; source < 4; ++source)
                replay.add_ids(7 + i, layer, source, experts.cell(i, layer, source));
    ExpertStatistics folded;
    folded.num_experts = 4;
    folded.ep_size = folded.num_sources = 4;
    folded.layers = {3, 10};
    folded.iter_start = 7;
    folded.num_iterations = 3;
    folded.allocate();
    for (int i = 0; i < 3; ++i)
        for (int layer = 0; layer < 2; ++layer)
            for (int source = 0; source < 4; ++source)
                for (const std::int32_t id : experts.cell(i, layer, source))
                    ++folded.row(i, layer, source)[id];
    for (int layer = 0; layer < 2; ++layer)
        CHECK(subject.slot_load[layer].values() == replayed(replay, folded, layer).values());
}

TEST_CASE("a projected table says how replicas were chosen") {
    ThreadPool threads(1);
    Scene scene(random_recording(500));
    scene.add_config("eplb.yaml", config_of_12_slots());
    const std::string replayed =
        "Replicas by the engine's round robin, replayed to the token from counts of one block";
    const auto notes = [&] {
        const Subject subject = scene.load().projected.front();
        return layer_table(measure(subject, Bins::ranks, threads), threads).notes;
    };
    const auto has = [&](const std::string& text) {
        const std::vector<Note> all = notes();
        return std::any_of(all.begin(), all.end(),
                           [&](const Note& note) { return note.text == text; });
    };
    CHECK(has(replayed + "."));
    scene.options.ep_size = 6;
    CHECK(has(replayed + ", with the recording's 4 source ranks."));
    scene.options.equal_split = true;
    CHECK(has("Each replica takes an equal share."));
}

TEST_CASE("no division among replicas is better than the optimal split") {
    ThreadPool threads(2);
    Scene scene(random_recording(500));
    scene.add_config("eplb.yaml", config_of_12_slots());
    const Subject subject = scene.load().projected.front();
    const Table table = layer_table(measure(subject, Bins::ranks, threads), threads);
    REQUIRE(table.columns[4].key == "optimal_split");
    double sum = 0;
    for (const auto& row : table.rows) {
        const double ratio = std::get<double>(row[3]);
        const double optimal = std::get<double>(row[4]);
        CHECK(optimal >= 0);
        CHECK(optimal < ratio);
        sum += optimal;
    }
    CHECK(std::get<double>(table.average[4]) == Approx(sum / 2));
    CHECK(layer_table(measure(subject, Bins::slots, threads), threads).columns[4].key ==
          "balancedness");
    const Subject recorded = scene.load().recorded;
    CHECK(layer_table(measure(recorded, Bins::ranks, threads), threads).columns[4].key ==
          "balancedness");
}

TEST_CASE("the ratio of the optimal split is averaged over iterations with tokens") {
    // two ranks that both hold expert 0: (6, 4) is 5 and 5; (0, 4) leaves 4 on rank 0, mean 2
    const LayerLoad load{3, 3, {6, 4, 0, 0, 0, 0, 0, 4, 0}};
    const Placement placement{2, 2, {0, 1, 0, 2}};
    CHECK(optimal_split_ratio(load, placement) == (0.0 + 1.0) / 2);
    CHECK(optimal_split_ratio({1, 3, {0, 0, 0}}, placement) == 0);
}

TEST_CASE("real counts and real ids give the same replay", "[real]") {
    if (test::real_data().empty())
        return;
    for (const char* name : {"intent", "summary"}) {
        const std::filesystem::path path = test::real_data() / "deepseek-v2-lite" / name;
        if (!std::filesystem::exists(path))
            continue;
        ThreadPool threads(2);
        const ExpertStatistics statistics = read_trtllm_statistics(path, {}, threads);
        const auto routed = read_trtllm_routed_ids(path, statistics);
        REQUIRE(routed);
        PlanRequest request;
        request.algorithm = Algorithm::greedy;
        request.ep_size = 8;
        request.num_slots = 96;
        const std::vector<Placement> placements = plan(statistics, request, threads);
        ReplicaReplay from_counts(placements, statistics.num_experts, statistics.iter_start,
                                  statistics.num_iterations);
        ReplicaReplay from_ids(placements, statistics.num_experts, statistics.iter_start,
                               statistics.num_iterations);
        from_ids.restart_from_ids();
        for (int i = 0; i < statistics.num_iterations; ++i)
            for (int layer = 0; layer < statistics.num_layers(); ++layer)
                for (int source = 0; source < statistics.ep_size; ++source) {
                    from_counts.add_counts(statistics.iter_start + i, layer, source,
                                           statistics.row(i, layer, source));
                    from_ids.add_ids(statistics.iter_start + i, layer, source,
                                     routed->cell(i, layer, source));
                }
        REQUIRE(from_counts.is_exact());
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            CHECK(replayed(from_counts, statistics, layer).values() ==
                  replayed(from_ids, statistics, layer).values());
    }
}

}  // namespace eplb::test_report_inputs
