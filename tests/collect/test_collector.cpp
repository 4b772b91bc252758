#include "lib/collect/collector.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/token_source.h"
#include "tests/collect/device_threads.h"
#include "tests/collect/runs.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_collector {

// Runs of one model against each other, and against counts that are made id by id.

using test::Run;
using test::RunOptions;

namespace {

constexpr LoopOrder kOrders[] = {LoopOrder::by_layer, LoopOrder::by_iteration};

// None; a fixed one; online ones.
std::vector<std::optional<EplbConfig>> configs_for(const MoeModelConfig& moe, int num_replicas) {
    const int num_slots = moe.router.num_experts + num_replicas;
    return {std::nullopt, test::shuffled_config(moe, num_slots, 0),
            test::shuffled_config(moe, num_slots, 1), test::default_config(num_slots, 4)};
}

void check_counts(const test::TestModel& model,
                  const TokenSchedule& schedule,
                  const RunOptions& options,
                  const Run& run) {
    const test::ExpectedCounts expected = test::expected_counts(model, schedule, options, run);
    CHECK(run.statistics == expected.statistics);
    CHECK(run.routed == expected.routed);
    CHECK(run.num_moved_slots == expected.num_moved_slots);
    CHECK(run.num_routed == std::int64_t{schedule.num_rows()} * model.moe().num_layers());
}

void check_same(const Run& run, const Run& other) {
    REQUIRE(run.statistics == other.statistics);
    REQUIRE(run.routed == other.routed);
    REQUIRE(run.imbalance == other.imbalance);
    REQUIRE(run.num_near_ties == other.num_near_ties);
    REQUIRE(run.num_routed == other.num_routed);
    REQUIRE(run.num_moved_slots == other.num_moved_slots);
}

// Every order and number of devices, with limits and without, for every config.
void check_all_ways(const test::TestModel& model,
                    const TokenSchedule& schedule,
                    int ep_size,
                    const std::vector<std::optional<EplbConfig>>& configs,
                    const std::vector<int>& num_devices) {
    constexpr Decoder::Limits kLimits = {.attention_tokens = 5, .expert_tokens = 7};
    std::optional<Run> plain;
    for (const std::optional<EplbConfig>& config : configs) {
        RunOptions options = {.ep_size = ep_size, .config = config};
        const Run whole = test::run(model, schedule, options);
        check_counts(model, schedule, options, whole);
        if (!plain)
            plain = whole;
        for (const LoopOrder order : kOrders)
            for (const int devices : num_devices) {
                INFO((order == LoopOrder::by_layer ? "by layer, " : "by iteration, ")
                     << devices << " devices");
                options.order = order;
                options.num_devices = devices;
                // one of the orders without limits
                const bool is_whole = devices == 2 && order == LoopOrder::by_iteration;
                options.limits = is_whole ? Decoder::Limits() : kLimits;
                options.num_threads = devices == 1 ? 3 : 1;
                const Run other = test::run(model, schedule, options);
                check_same(other, whole);
                REQUIRE(other.input == plain->input);
                REQUIRE(other.output == plain->output);
                REQUIRE(other.expert_ids == plain->expert_ids);
            }
    }
}

}  // namespace

TEST_CASE(
    "no order, limit, number of threads or devices, and no placement changes a bit of a "
    "checkpoint's results or a count") {
    for (const std::string name : {"deepseek_v3", "gpt_oss", "mixtral", "qwen2_moe"}) {
        INFO(name);
        const test::CheckpointModel model(test::model_folder(name));
        const auto schedule_of = [&](Segment segment) {
            return make_schedule(test::requests_for(9, model.moe().vocab_size),
                                 {.ep_size = 4, .tokens_per_rank = 6, .segment = segment});
        };
        const std::vector<int> num_devices =
            name == "deepseek_v3" ? std::vector<int>{1, 2, 4} : std::vector<int>{1, 4};
        check_all_ways(model, schedule_of(Segment::all), 4, configs_for(model.moe(), 4),
                       num_devices);
        if (name != "deepseek_v3" || test::kSanitized)
            continue;
        for (const Segment segment : {Segment::prompt, Segment::output})
            check_all_ways(model, schedule_of(segment), 4, configs_for(model.moe(), 4), {4});
    }
}

TEST_CASE("nor of a synthetic model's") {
    for (const char* const name : {"deepseek-r1", "mixtral-8x7b", "deepseek-v2-lite"}) {
        INFO(name);
        const test::PresetModel model(test::small_preset(name));
        const TokenSchedule schedule = test::traffic_schedule(model.moe(), 8, 9, 5);
        if (model.moe().router.num_experts > 64)
            check_all_ways(model, schedule, 8, {test::shuffled_config(model.moe(), 280, 1)}, {8});
        else
            check_all_ways(model, schedule, 8, configs_for(model.moe(), 24), {2, 8});
    }
}

TEST_CASE("a layer that only routes counts the same") {
    for (const std::string name : {"deepseek_v3", "gpt_oss"}) {
        const test::CheckpointModel whole(test::model_folder(name));
        const test::CheckpointModel model(test::model_folder(name),
                                          test::CheckpointModel::Last::only_routes);
        const TokenSchedule schedule = make_schedule(test::requests_for(9, model.moe().vocab_size),
                                                     {.ep_size = 4, .tokens_per_rank = 6});
        for (const EplbConfig& config :
             {test::shuffled_config(model.moe(), model.moe().router.num_experts + 4, 0),
              test::default_config(model.moe().router.num_experts + 4, 4)}) {
            RunOptions options = {.ep_size = 4, .config = config};
            const Run expected = test::run(whole, schedule, options);
            for (const LoopOrder order : kOrders)
                for (const int devices : {1, 4}) {
                    options.order = order;
                    options.num_devices = devices;
                    const Run run = test::run(model, schedule, options);
                    check_same(run, expected);
                    REQUIRE(run.expert_ids == expected.expert_ids);
                    REQUIRE(std::equal(run.output.begin(), run.output.end() - 1,
                                       expected.output.begin()));
                }
        }
    }
}

TEST_CASE("more devices than experts: some hold none") {
    const test::CheckpointModel model(test::model_folder("mixtral"));  // of 8 experts
    const TokenSchedule schedule = make_schedule(test::requests_for(9, model.moe().vocab_size),
                                                 {.ep_size = 16, .tokens_per_rank = 2});
    check_all_ways(model, schedule, 16,
                   {test::default_config(16, 1), test::shuffled_config(model.moe(), 32, 0)}, {16});
}

TEST_CASE("devices without a token take part, in a whole run and in an iteration") {
    const test::CheckpointModel checkpoint(test::model_folder("deepseek_v3"));
    const test::PresetModel preset(test::small_preset());
    // two ranks of four have tokens; in the second iteration one has
    const std::vector<Request> requests = {{{1, 2, 3}, {}}, {}, {{4}, {}}};
    check_all_ways(checkpoint, make_schedule(requests, {.ep_size = 4, .tokens_per_rank = 2}), 4,
                   configs_for(checkpoint.moe(), 4), {1, 2, 4});

    DatasetTokens source(requests, 4, 8);
    const TokenSchedule schedule = *source.next();
    check_all_ways(preset, schedule, 4, configs_for(preset.moe(), 4), {1, 2, 4});
    const Run run = test::run(preset, schedule, {.ep_size = 4});
    CHECK(std::accumulate(run.statistics.counts.begin(), run.statistics.counts.end(),
                          std::int64_t{0}) == 4 * 4 * 8);
}

TEST_CASE("an expert may stand twice on a rank, and on every rank") {
    const test::CheckpointModel model(test::model_folder("mixtral"));
    EplbConfig config;
    config.num_slots = 24;
    for (const int layer : model.moe().layers)
        config.initial_global_assignments[layer] = {0, 0, 1, 2, 0, 5, 3, 0, 0, 4, 5, 0,
                                                    6, 5, 0, 0, 5, 7, 0, 5, 0, 1, 5, 0};
    const TokenSchedule schedule = make_schedule(test::requests_for(9, model.moe().vocab_size),
                                                 {.ep_size = 4, .tokens_per_rank = 6});
    check_all_ways(model, schedule, 4, {config}, {1, 2, 4});
}

TEST_CASE("rows go to the device of their slot") {
    // every expert on both devices: a row stays at home where its slot is there
    const test::CheckpointModel model(test::model_folder("mixtral"));
    EplbConfig config;
    config.num_slots = 16;
    for (const int layer : model.moe().layers)
        config.initial_global_assignments[layer] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    // one token a rank: its experts appear once each, and rank r takes replica r
    const std::vector<Request> requests = {{{11}, {}}, {{13}, {}}};
    const Run run = test::run(model, make_schedule(requests, {.ep_size = 2}),
                              {.ep_size = 2, .config = config, .num_devices = 2});
    for (int layer = 0; layer < 2; ++layer)
        for (int rank = 0; rank < 2; ++rank) {
            const std::span<const std::int64_t> row = run.statistics.row(0, layer, rank);
            CHECK(std::accumulate(row.begin() + 8 * rank, row.begin() + 8 * (rank + 1),
                                  std::int64_t{0}) == 2);
        }
    // places of 4 bytes come first
    const auto sends = [&](int device) {
        return *std::find_if(run.calls[device].begin(), run.calls[device].end(),
                             [](const std::string& call) { return call.starts_with("exchange"); });
    };
    CHECK(sends(0) == "exchange 0 8 8");
    CHECK(sends(1) == "exchange 0 0 8");
}

TEST_CASE("every rank's tokens are counted top_k times in every layer") {
    const test::PresetModel model(test::small_preset());
    const Run run = test::run(model, test::traffic_schedule(model.moe(), 8, 37, 2), {.ep_size = 8});
    for (int iteration = 0; iteration < 2; ++iteration)
        for (int layer = 0; layer < 4; ++layer)
            for (int rank = 0; rank < 8; ++rank) {
                const std::span<const std::int64_t> row =
                    run.statistics.row(iteration, layer, rank);
                REQUIRE(std::accumulate(row.begin(), row.end(), std::int64_t{0}) == 37 * 8);
            }
}

TEST_CASE("schedules may come one after another, as an online run's do") {
    const test::PresetModel model(test::small_preset());
    const EplbConfig config = test::shuffled_config(model.moe(), 280, 2);
    const Run whole = test::run(model, test::traffic_schedule(model.moe(), 8, 9, 5),
                                {.ep_size = 8, .config = config});
    for (const LoopOrder order : kOrders) {
        const ExpertLayout layout = lay_out_experts(model.moe(), 8, config, 1, order);
        ThreadPool threads(1);
        CpuBackend backend(threads);
        const std::unique_ptr<LayerSource> layers =
            model.source(layout, 0, order, backend, nullptr, threads);
        Collector collector(*layers, layout, {.order = order}, backend);
        SyntheticTokens tokens(SyntheticTraffic(model.moe().vocab_size, 1), 8, 9);
        std::vector<std::int64_t> counts;
        std::int64_t num_moved_slots = 0;
        for (int iteration = 0; iteration < 5; ++iteration)
            REQUIRE(collector.run(*tokens.next(), [&](BatchCounts& batch) {
                CHECK(batch.statistics.iter_start == iteration);
                CHECK_FALSE(batch.routed);
                counts.insert(counts.end(), batch.statistics.counts.begin(),
                              batch.statistics.counts.end());
                num_moved_slots += batch.num_moved_slots;
            }));
        CHECK(counts == whole.statistics.counts);
        CHECK(num_moved_slots == whole.num_moved_slots);
    }
}

TEST_CASE("tokens are cut into chunks of equal size, as TensorRT-LLM cuts them") {
    const test::CheckpointModel model(test::model_folder("mixtral"));
    // how many rows each layer's exchanges send, of both devices
    const auto sent = [&](int num_tokens, int num_others, int limit) {
        std::vector<Request> requests(2);
        requests[0].input_ids.resize(num_tokens, 3);
        requests[1].input_ids.resize(num_others, 5);
        const Run run =
            test::run(model, make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 1000}),
                      {.ep_size = 2,
                       .num_devices = 2,
                       .limits = {.attention_tokens = 100, .expert_tokens = limit}});
        std::vector<std::vector<int>> sizes(2);
        for (int device = 0; device < 2; ++device)
            for (const std::string& call : run.calls[device])
                if (call.starts_with("exchange"))
                    sizes[device].push_back(std::stoi(call.substr(call.rfind(' '))));
        // three exchanges a chunk: places of 4 bytes for each of 2 experts, rows, rows back
        std::vector<std::vector<int>> tokens(2);
        for (int device = 0; device < 2; ++device)
            for (std::size_t i = 0; i < sizes[device].size() / 2; i += 3)  // the first layer's
                tokens[device].push_back(sizes[device][i] / 8);
        return tokens;
    };
    using Sizes = std::vector<std::vector<int>>;
    CHECK(sent(10, 10, 4) == Sizes{{4, 3, 3}, {4, 3, 3}});
    CHECK(sent(10, 2, 4) == Sizes{{4, 3, 3}, {1, 1, 0}});  // as often on all devices
    CHECK(sent(10, 1, 0) == Sizes{{10}, {1}});
    CHECK(sent(8, 0, 8) == Sizes{{8}, {0}});
    CHECK(sent(9, 0, 8) == Sizes{{5, 4}, {0, 0}});
    CHECK(sent(96, 7, 30) == Sizes{{24, 24, 24, 24}, {2, 2, 2, 1}});
}

TEST_CASE("a limit bounds the expert buffers") {
    const test::PresetModel model(test::small_preset());
    const TokenSchedule schedule = test::traffic_schedule(model.moe(), 8, 37, 1);
    const Run whole = test::run(model, schedule, {.ep_size = 8});
    const Run cut = test::run(model, schedule, {.ep_size = 8, .limits = {.expert_tokens = 40}});
    CHECK(cut.buffer_bytes * 5 < whole.buffer_bytes);
}

TEST_CASE("a run that is asked to stop does, on all devices at once") {
    const test::PresetModel preset(test::small_preset("mixtral-8x7b"));
    const test::CheckpointModel checkpoint(test::model_folder("deepseek_v3"));
    for (const test::TestModel* const model :
         std::initializer_list<const test::TestModel*>{&preset, &checkpoint})
        for (const int num_devices : {1, 2, 4}) {
            const TokenSchedule schedule = test::traffic_schedule(model->moe(), 4, 5, 6);
            const LoopOrder order = LoopOrder::by_iteration;
            const ExpertLayout layout = lay_out_experts(model->moe(), 4, {}, num_devices, order);
            std::vector<int> num_batches(num_devices);
            const auto run = [&](int device, ProcessGroup* group, Communicator* communicator) {
                ThreadPool threads(1);
                CpuBackend backend(threads);
                const std::unique_ptr<LayerSource> layers =
                    model->source(layout, device, order, backend, communicator, threads);
                Collector collector(*layers, layout,
                                    {.order = order, .communicator = communicator, .group = group},
                                    backend);
                // the last device alone is asked to
                collector.set_stop(
                    [&] { return device == num_devices - 1 && num_batches[device] == 2; });
                if (collector.run(schedule, [&](BatchCounts&) { ++num_batches[device]; }))
                    throw std::logic_error("the run was not stopped");
            };
            if (num_devices == 1)
                run(0, nullptr, nullptr);
            else
                test::on_devices(num_devices,
                                 [&](int device, ProcessGroup& group, Communicator& communicator) {
                                     run(device, &group, &communicator);
                                 });
            CHECK(num_batches == std::vector<int>(num_devices, 2));
        }
}

}  // namespace eplb::test_collector
