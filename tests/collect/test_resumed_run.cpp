#include <atomic>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/checkpoint_layers.h"
#include "lib/collect/collector.h"
#include "tests/collect/runs.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_resumed_run {

namespace {

constexpr LoopOrder kOrder = LoopOrder::by_layer;

// One collector and what it needs.
struct Scene {
    Scene(const test::TestModel& model,
          const std::optional<EplbConfig>& config,
          bool keep_ids,
          std::function<bool()> stop = nullptr)
        : layout(lay_out_experts(model.moe(), 2, config, 1, kOrder)),
          threads(2),
          backend(threads),
          layers(model.source(layout, 0, kOrder, backend, nullptr, threads)),
          collector(*layers, layout, {.order = kOrder, .keep_ids = keep_ids}, backend) {
        collector.set_stop(std::move(stop));
    }

    // the counts, or nothing where the run was stopped
    std::optional<BatchCounts> run(const TokenSchedule& schedule) {
        std::optional<BatchCounts> counts;
        const bool ended =
            collector.run(schedule, [&](BatchCounts& batch) { counts = std::move(batch); });
        CHECK(ended == counts.has_value());
        return counts;
    }

    ExpertLayout layout;
    ThreadPool threads;
    CpuBackend backend;
    std::unique_ptr<LayerSource> layers;
    Collector collector;
};

void fail(const std::string& why) {
    FAIL(why);
}

void check_same(const BatchCounts& counts, const BatchCounts& whole) {
    CHECK(counts.statistics == whole.statistics);
    CHECK(counts.routed == whole.routed);
    CHECK(counts.slot_totals == whole.slot_totals);
    CHECK(counts.num_routed == whole.num_routed);
    CHECK(counts.num_near_ties == whole.num_near_ties);
    CHECK(counts.num_moved_slots == whole.num_moved_slots);
}

}  // namespace

TEST_CASE("a run that is broken off goes on from its last layer") {
    const test::CheckpointModel deepseek(test::model_folder("deepseek_v3"));
    const test::CheckpointModel routing(test::model_folder("qwen3_moe"),
                                        test::CheckpointModel::Last::only_routes);
    const test::PresetModel preset(test::small_preset("mixtral-8x7b"));
    const test::TemporaryFolder folder;
    const RunStateFile file(folder / "stats.state");
    for (const test::TestModel* const model :
         std::initializer_list<const test::TestModel*>{&deepseek, &routing, &preset}) {
        const MoeModelConfig& moe = model->moe();
        // sequences of synthetic traffic end with their iteration
        const TokenSchedule schedule = model == &preset
                                           ? test::traffic_schedule(moe, 2, 6, 5)
                                           : make_schedule(test::requests_for(8, moe.vocab_size),
                                                           {.ep_size = 2, .tokens_per_rank = 6});
        for (const int updates : {-1, 0, 1})  // below 0: no config
            for (const bool keep_ids : {true, false}) {
                std::optional<EplbConfig> config;
                if (updates >= 0)
                    config = test::shuffled_config(moe, moe.router.num_experts + 4, updates);
                const std::optional<BatchCounts> whole =
                    Scene(*model, config, keep_ids).run(schedule);
                REQUIRE(whole);
                const std::vector<int> layers = model->layers();
                for (std::size_t stop_at = 1; stop_at < layers.size(); ++stop_at) {
                    INFO(moe.name << ", " << updates << " updates, stopped after " << stop_at
                                  << " layers");
                    file.remove();
                    std::atomic<std::size_t> num_done = 0;
                    Scene first(*model, config, keep_ids, [&] { return num_done == stop_at; });
                    first.collector.set_layer_done([&](int) { ++num_done; });
                    first.collector.set_state_file(&file, fail);
                    CHECK_FALSE(first.run(schedule));
                    CHECK(first.collector.next_layer() == layers[stop_at - 1] + 1);
                    CHECK(first.collector.saved_layer() == layers[stop_at - 1] + 1);

                    Scene second(*model, config, keep_ids);
                    second.collector.resume(file.load(second.collector.fingerprint(schedule)),
                                            schedule);
                    CHECK(second.collector.saved_layer() == layers[stop_at - 1] + 1);
                    std::vector<int> resumed;
                    second.collector.set_observer([&](const Collector::LayerTrace& trace) {
                        resumed.push_back(trace.layer);
                    });
                    const std::optional<BatchCounts> counts = second.run(schedule);
                    REQUIRE(counts);
                    CHECK(resumed == std::vector<int>(layers.begin() + stop_at, layers.end()));
                    check_same(*counts, *whole);
                }
            }
    }
}

TEST_CASE("a resumed run can be broken off again") {
    const test::CheckpointModel model(test::model_folder("deepseek_v3"));
    const TokenSchedule schedule = make_schedule(test::requests_for(8, model.moe().vocab_size),
                                                 {.ep_size = 2, .tokens_per_rank = 6});
    const EplbConfig config = test::default_config(20, 1);
    const std::optional<BatchCounts> whole = Scene(model, config, true).run(schedule);
    REQUIRE(whole);
    const test::TemporaryFolder folder;
    const RunStateFile file(folder / "stats.state");
    std::optional<BatchCounts> counts;
    for (std::size_t layer = 0; layer < model.layers().size(); ++layer) {
        std::atomic<int> num_done = 0;
        Scene scene(model, config, true, [&] { return num_done == 1; });
        scene.collector.set_layer_done([&](int) { ++num_done; });
        scene.collector.set_state_file(&file, fail);
        if (layer > 0)
            scene.collector.resume(file.load(scene.collector.fingerprint(schedule)), schedule);
        counts = scene.run(schedule);
    }
    REQUIRE(counts);
    check_same(*counts, *whole);
}

TEST_CASE("where no state can be written the run goes on") {
    const test::CheckpointModel model(test::model_folder("deepseek_v3"));
    const TokenSchedule schedule = make_schedule(test::requests_for(8, model.moe().vocab_size),
                                                 {.ep_size = 2, .tokens_per_rank = 6});
    const std::optional<BatchCounts> whole = Scene(model, {}, true).run(schedule);
    const test::TemporaryFolder folder;
    const RunStateFile nowhere(folder / "missing" / "stats.state");
    Scene unsaved(model, {}, true);
    std::size_t num_failures = 0;
    unsaved.collector.set_state_file(&nowhere, [&](const std::string& why) {
        ++num_failures;
        CHECK(why.find("missing") != std::string::npos);
    });
    const std::optional<BatchCounts> counts = unsaved.run(schedule);
    CHECK(num_failures == model.layers().size() - 1);
    CHECK(unsaved.collector.saved_layer() == 0);
    REQUIRE(counts);
    REQUIRE(whole);
    check_same(*counts, *whole);
}

TEST_CASE("a state of another run is refused") {
    const test::CheckpointModel model(test::model_folder("deepseek_v3"));
    const auto schedule_of = [&](int num_requests) {
        return make_schedule(test::requests_for(num_requests, model.moe().vocab_size),
                             {.ep_size = 2, .tokens_per_rank = 6});
    };
    const TokenSchedule schedule = schedule_of(8);
    const test::TemporaryFolder folder;
    const RunStateFile file(folder / "stats.state");
    Scene first(model, test::default_config(20, 1), true);
    first.collector.set_state_file(&file, fail);
    REQUIRE(first.run(schedule));
    const std::string fingerprint = first.collector.fingerprint(schedule);

    const auto error_of = [&](const std::optional<EplbConfig>& config, bool keep_ids,
                              const TokenSchedule& other) {
        const Scene scene(model, config, keep_ids);
        return test::error_of([&] { file.load(scene.collector.fingerprint(other)); });
    };
    CHECK(error_of(test::default_config(20, 1), true, schedule).empty());
    for (const std::string& error :
         {error_of(test::default_config(20, 1), true, schedule_of(7)),
          error_of(test::default_config(20, 1), false, schedule),
          error_of(test::default_config(20, 0), true, schedule),
          error_of(test::default_config(18, 1), true, schedule),
          error_of(test::default_config(16, 0), true, schedule), error_of({}, true, schedule)})
        CHECK(error.find("another") != std::string::npos);

    // what says that it is this run's and is not of its sizes
    const auto resume = [&](const std::function<void(RunState&)>& damage) {
        RunState state = file.load(fingerprint);
        damage(state);
        Scene scene(model, test::default_config(20, 1), true);
        return test::error_of([&] { scene.collector.resume(state, schedule); });
    };
    CHECK(resume([](RunState&) {}).empty());
    CHECK(resume([](RunState& state) { state.hidden.pop_back(); }).find("does not fit") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.counts.pop_back(); }).find("does not fit") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.next_layer = 0; }).find("does not fit") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.next_layer = 4; }).find("does not fit") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.slot_ids.pop_back(); }).find("does not fit") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.slot_ids[0].pop_back(); }).find("damaged") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.slot_ids[0][3] = 20; }).find("damaged") !=
          std::string::npos);
    CHECK(resume([](RunState& state) { state.slot_ids[0][3] = -1; }).find("damaged") !=
          std::string::npos);

    test::write_text(file.path(), test::read_text(file.path()).substr(0, 100));
    CHECK_STARTS_WITH(test::error_of([&] { file.load(fingerprint); }), file.path().string());
}

}  // namespace eplb::test_resumed_run
