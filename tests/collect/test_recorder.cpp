#include <filesystem>
#include <fstream>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/dataset.h"
#include "lib/collect/recorder.h"
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
