#include "lib/collect/recorder.h"

#include <filesystem>
#include <memory>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/error.h"
#include "lib/collect/token_source.h"
#include "tests/collect/device_threads.h"
#include "tests/collect/runs.h"
#include "tests/test_support.h"

namespace eplb::test_recorder {

using test::TemporaryFolder;

namespace {

constexpr int kEpSize = 4;
constexpr LoopOrder kOrders[] = {LoopOrder::by_layer, LoopOrder::by_iteration};

Preset recorded_preset() {
    Preset preset = find_preset("mixtral-8x7b");
    preset.model.layers.resize(3);
    preset.model.hidden_size = 64;
    preset.model.intermediate_size = 16;
    return preset;
}

ExpertStatistics one_layer() {
    ExpertStatistics shape;
    shape.num_experts = 8;
    shape.top_k = 2;
    shape.ep_size = 4;
    shape.num_sources = 4;
    shape.layers = {0};
    return shape;
}

// Runs the schedules and records [range) of them.
void record(const test::TestModel& model,
            const std::vector<TokenSchedule>& schedules,
            LoopOrder order,
            const IterationRange& range,
            const std::string& path,
            int num_devices) {
    const ExpertLayout layout = lay_out_experts(model.moe(), kEpSize, {}, num_devices, order);
    const auto record_part = [&](int device, ProcessGroup* group, Communicator* communicator) {
        ThreadPool threads(1);
        CpuBackend backend(threads);
        const std::unique_ptr<LayerSource> layers =
            model.source(layout, device, order, backend, communicator, threads);
        Collector collector(
            *layers, layout,
            {.order = order, .keep_ids = true, .communicator = communicator, .group = group},
            backend);
        Recorder recorder(collector.shape(), range, path, true, collector.first_rank(), group);
        for (const TokenSchedule& schedule : schedules)
            collector.run(schedule, [&](BatchCounts& counts) { recorder.record(counts); });
        if (recorder.num_recorded() != range.stop - range.start)
            throw std::logic_error("not all was recorded");
        recorder.finish();
    };
    if (num_devices == 1)
        record_part(0, nullptr, nullptr);
    else
        test::on_devices(num_devices,
                         [&](int device, ProcessGroup& group, Communicator& communicator) {
                             record_part(device, &group, &communicator);
                         });
}

}  // namespace

TEST_CASE("a recording holds the iterations of its range, half open, per source rank") {
    const test::PresetModel model(recorded_preset());
    const TokenSchedule schedule = test::traffic_schedule(model.moe(), kEpSize, 9, 7);
    const test::Run run = test::run(model, schedule, {.ep_size = kEpSize});
    SyntheticTokens source(SyntheticTraffic(model.moe().vocab_size, 1), kEpSize, 9);
    std::vector<TokenSchedule> schedules;
    for (int i = 0; i < 7; ++i)
        schedules.push_back(*source.next());
    const int num_layers = model.moe().num_layers();
    for (const LoopOrder order : kOrders)
        for (const bool at_once : {true, false})
            for (const int num_devices : {1, 2, 4}) {
                const TemporaryFolder folder;
                const std::string path = folder / "stats";
                record(model, at_once ? std::vector{schedule} : schedules, order, {2, 5}, path,
                       num_devices);
                ThreadPool threads(2);
                const ExpertStatistics read = read_trtllm_statistics(path, {}, threads);
                CHECK(read.iter_start == 2);
                CHECK(read.num_iterations == 3);
                CHECK(read.ep_size == kEpSize);
                CHECK(read.ids == IdKind::expert);
                CHECK(read.layers == model.moe().layers);
                const std::optional<RoutedIds> ids = read_trtllm_routed_ids(path, read);
                REQUIRE(ids);
                for (int i = 0; i < 3; ++i)
                    for (int layer = 0; layer < num_layers; ++layer)
                        for (int rank = 0; rank < kEpSize; ++rank) {
                            const auto row = read.row(i, layer, rank);
                            const auto expected = run.statistics.row(2 + i, layer, rank);
                            REQUIRE(std::equal(row.begin(), row.end(), expected.begin(),
                                               expected.end()));
                            REQUIRE(ids->cell(i, layer, rank) ==
                                    run.routed.cell(2 + i, layer, rank));
                        }
            }
}

TEST_CASE("a recorder wants the iterations of its range, and takes no others of a batch") {
    const TemporaryFolder folder;
    for (const IterationRange range :
         {IterationRange{0, 4}, {10, 12}, {12, 16}, {11, 13}, {0, 30}, {16, 20}}) {
        const std::string path = folder / std::to_string(range.start);
        Recorder recorder(one_layer(), range, path, false, 0, nullptr);
        int num_wanted = 0;
        for (int batch = 0; batch < 2; ++batch) {  // iterations 10 to 12 and 13 to 15
            BatchCounts counts;
            counts.statistics = one_layer();
            counts.statistics.iter_start = 10 + 3 * batch;
            counts.statistics.num_iterations = 3;
            counts.statistics.allocate();
            for (int i = 0; i < 3; ++i) {
                const std::int64_t id = counts.statistics.iter_start + i;
                for (int rank = 0; rank < 4; ++rank)
                    counts.statistics.row(i, 0, rank)[rank] = id;
                num_wanted += id >= range.start && id < range.stop ? 1 : 0;
            }
            recorder.record(counts);
        }
        CHECK(recorder.num_recorded() == num_wanted);
        recorder.finish();
        if (num_wanted == 0) {
            CHECK_FALSE(std::filesystem::exists(path + "/meta_info.json"));
            continue;
        }
        ThreadPool threads(1);
        const ExpertStatistics read = read_trtllm_statistics(path, {}, threads);
        REQUIRE(read.num_iterations == num_wanted);
        for (int i = 0; i < num_wanted; ++i)
            for (int rank = 0; rank < 4; ++rank)
                CHECK(read.row(i, 0, rank)[rank] == std::max<std::int64_t>(range.start, 10) + i);
    }
}

TEST_CASE("a folder stays as it was where one of its writers fails before all are ready") {
    const TemporaryFolder folder;
    const std::string path = folder / "stats";
    const auto write = [&](std::int64_t count, bool fails) {
        test::on_devices(2, [&](int device, ProcessGroup& group, Communicator&) {
            ExpertStatistics own = one_layer();
            own.num_iterations = 1;
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
    {
        Recorder recorder(one_layer(), {0, 5}, folder / "stats", false, 0, nullptr);
        recorder.finish();
    }
    CHECK_FALSE(std::filesystem::exists(folder / "stats" / "meta_info.json"));
}

}  // namespace eplb::test_recorder
