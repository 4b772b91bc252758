#include <filesystem>
#include <fstream>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "lib/collect/recorder.h"
#include "tests/collect/device_threads.h"
#include "tests/test_support.h"

using namespace eplb;
using test::TemporaryFolder;

TEST_CASE("a recording holds the iterations of its range, half open, per source rank") {
    ThreadPool threads(2);
    CpuBackend backend(threads);
    Preset preset = find_preset("mixtral-8x7b");
    preset.model.layers.resize(2);
    const SyntheticModel model(preset, 1, threads);
    Harness harness(model, {.ep_size = 4, .config = {}, .keep_ids = true}, backend, threads);
    SyntheticTokens source(SyntheticTraffic(32000, 1), 4, 9);
    ExpertStatistics shape;
    shape.num_experts = 8;
    shape.top_k = 2;
    shape.ep_size = 4;
    shape.layers = preset.model.layers;
    shape.iter_start = 2;
    shape.ids = IdKind::expert;
    const TemporaryFolder folder;
    Recorder recorder(shape, 5, folder / "stats", true, {.num_ranks = 4});
    std::vector<std::int64_t> expected;
    std::vector<std::int32_t> expected_ids;
    for (int iteration = 0; iteration < 7; ++iteration) {
        const IterationTokens tokens = source.next();
        const IterationCounts& counts = harness.run(iteration, tokens);
        CHECK(recorder.wants(iteration) == (iteration >= 2 && iteration < 5));
        if (!recorder.wants(iteration))
            continue;
        recorder.record(counts, tokens);
        expected.insert(expected.end(), counts.counts.begin(), counts.counts.end());
        expected_ids.insert(expected_ids.end(), counts.slot_ids.begin(), counts.slot_ids.end());
    }
    CHECK(recorder.num_recorded() == 3);
    recorder.finish();

    const ExpertStatistics read = read_trtllm_statistics(folder / "stats", {}, threads);
    CHECK(read.iter_start == 2);
    CHECK(read.num_iterations == 3);
    CHECK(read.ep_size == 4);
    CHECK(read.ids == IdKind::expert);
    CHECK(read.counts == expected);
    const std::optional<RoutedIds> ids = read_trtllm_routed_ids(folder / "stats", read);
    REQUIRE(ids);
    std::vector<std::int32_t> all_ids;
    for (const std::vector<std::int32_t>& cell : ids->ids)
        all_ids.insert(all_ids.end(), cell.begin(), cell.end());
    CHECK(all_ids == expected_ids);
}

TEST_CASE("several devices record what one does") {
    Preset preset = find_preset("mixtral-8x7b");
    preset.model.layers.resize(3);
    ExpertStatistics shape;
    shape.num_experts = 8;
    shape.top_k = 2;
    shape.ep_size = 4;
    shape.layers = preset.model.layers;
    shape.iter_start = 1;
    shape.ids = IdKind::expert;
    ThreadPool model_threads(1);
    const SyntheticModel model(preset, 1, model_threads);
    const auto record = [&](const std::string& path, Communicator* communicator,
                            const RankShare& share) {
        ThreadPool threads(1);
        CpuBackend backend(threads);
        Harness::Options options;
        options.ep_size = 4;
        options.keep_ids = true;
        options.communicator = communicator;
        Harness harness(model, options, backend, threads);
        SyntheticTokens source(SyntheticTraffic(32000, 1), 4, 9);
        Recorder recorder(shape, 4, path, true, share);
        for (int iteration = 0; iteration < 4; ++iteration) {
            const IterationTokens tokens = source.next();
            const IterationCounts& counts = harness.run(iteration, tokens);
            if (recorder.wants(iteration))
                recorder.record(counts, tokens);
        }
        recorder.finish();
    };
    const TemporaryFolder folder;
    record(folder / "one", nullptr, {.num_ranks = 4});
    for (const int num_devices : {2, 4}) {
        const std::string path = folder / ("by" + std::to_string(num_devices));
        test::on_devices(num_devices,
                         [&](int device, ProcessGroup& group, Communicator& communicator) {
                             const int num_ranks = 4 / num_devices;
                             record(path, &communicator, {&group, device * num_ranks, num_ranks});
                         });
        ThreadPool threads(2);
        const ExpertStatistics one = read_trtllm_statistics(folder / "one", {}, threads);
        const ExpertStatistics other = read_trtllm_statistics(path, {}, threads);
        CHECK(one == other);
        CHECK(read_trtllm_routed_ids(folder / "one", one) == read_trtllm_routed_ids(path, other));
    }
}

TEST_CASE("a folder stays as it was where one of its writers fails before all are ready") {
    const TemporaryFolder folder;
    const std::string path = folder / "stats";
    ExpertStatistics shape;
    shape.num_experts = 8;
    shape.top_k = 2;
    shape.ep_size = 4;
    shape.layers = {0};
    shape.num_iterations = 1;
    const auto write = [&](std::int64_t count, bool fails) {
        test::on_devices(2, [&](int device, ProcessGroup& group, Communicator&) {
            ExpertStatistics own = shape;
            own.num_sources = 2;
            own.allocate();
            own.counts.assign(own.counts.size(), count);
            TrtllmStatisticsFolder stats(path, &group);
            if (fails && device == 1)
                throw Error("no space left");
            stats.write(own, nullptr, device * 2);
        });
    };
    write(3, false);
    ThreadPool threads(1);
    const ExpertStatistics before = read_trtllm_statistics(path, {}, threads);
    CHECK(before.counts == std::vector<std::int64_t>(4 * 8, 3));
    CHECK_THROWS_AS(write(5, true), Error);
    CHECK(read_trtllm_statistics(path, {}, threads) == before);
    for (const auto& entry : std::filesystem::directory_iterator(path))
        CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("nothing recorded writes nothing") {
    const TemporaryFolder folder;
    ExpertStatistics shape;
    shape.num_experts = 8;
    shape.top_k = 2;
    shape.ep_size = 4;
    shape.layers = {0};
    {
        Recorder recorder(shape, 5, folder / "stats", false, {.num_ranks = 4});
        recorder.finish();
    }
    CHECK_FALSE(std::filesystem::exists(folder / "stats" / "meta_info.json"));
}
