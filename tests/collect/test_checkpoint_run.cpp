#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <set>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/checkpoint_run.h"
#include "tests/collect/device_threads.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

using namespace eplb;
using test::Expected;

namespace {

constexpr float kMargin = 1e-5F;
constexpr float kRelative = 1e-4F;

// By how much the selection of top_k scores was decided, groups included: the slow way.
float margin_of(const RouterSpec& spec, const float* scores) {
    float margin = INFINITY;
    const int size = spec.num_experts / spec.num_groups;
    std::vector<float> allowed;
    std::vector<std::pair<float, int>> groups;
    for (int g = 0; g < spec.num_groups; ++g) {
        std::vector<float> group(scores + g * size, scores + (g + 1) * size);
        std::sort(group.rbegin(), group.rend());
        const bool single = spec.group_score == GroupScore::maximum || size == 1;
        groups.emplace_back(single ? group[0] : group[0] + group[1], g);
    }
    std::sort(groups.rbegin(), groups.rend());
    const auto top = static_cast<std::size_t>(spec.top_groups);
    if (top < groups.size())
        margin = groups[top - 1].first - groups[top].first;
    for (std::size_t i = 0; i < top; ++i)
        allowed.insert(allowed.end(), scores + groups[i].second * size,
                       scores + (groups[i].second + 1) * size);
    std::sort(allowed.rbegin(), allowed.rend());
    const auto k = static_cast<std::size_t>(spec.top_k);
    return k < allowed.size() ? std::min(margin, allowed[k - 1] - allowed[k]) : margin;
}

struct Run {
    std::vector<std::vector<float>> hidden;             // [layers]
    std::vector<std::vector<std::int32_t>> expert_ids;  // [layers]
    ExpertStatistics statistics;
    RoutedIds routed_ids;
    std::int64_t num_near_ties = 0;
};

Run run_model(const std::string& name,
              const TokenSchedule& schedule,
              CheckpointRun::Options options,
              int num_threads = 2) {
    const DecoderConfig config = read_decoder_config(test::model_folder(name));
    const Checkpoint checkpoint(test::model_folder(name));
    LayerReader reader(config, checkpoint, config.num_needed_layers(), false,
                       Decoder::experts_here(config, options.communicator));
    ThreadPool threads(num_threads);
    CpuBackend backend(threads);
    CheckpointRun run(config, reader, schedule, options, backend);
    Run result;
    run.set_observer([&](const CheckpointRun::LayerTrace& trace) {
        result.hidden.emplace_back(trace.hidden.begin(), trace.hidden.end());
        result.expert_ids.emplace_back(trace.expert_ids.begin(), trace.expert_ids.end());
    });
    if (!run.run())  // no assertion: this may be one of several threads
        throw std::logic_error("the run was stopped");
    result.num_near_ties = run.num_near_ties();
    result.statistics = run.take_statistics();
    if (options.keep_ids)
        result.routed_ids = run.take_routed_ids();
    return result;
}

// The same on several devices; hidden states and ids are those of the first.
Run run_model_on_devices(const std::string& name,
                         const TokenSchedule& schedule,
                         const CheckpointRun::Options& options,
                         int num_devices) {
    std::vector<Run> runs(num_devices);
    test::on_devices(num_devices, [&](int device, ProcessGroup& group, Communicator& communicator) {
        CheckpointRun::Options own = options;
        own.group = &group;
        own.communicator = &communicator;
        runs[device] = run_model(name, schedule, own, 1);
    });
    for (const Run& run : runs) {
        REQUIRE(run.statistics == runs.front().statistics);
        REQUIRE(run.routed_ids == runs.front().routed_ids);
        REQUIRE(run.num_near_ties == runs.front().num_near_ties);
    }
    return runs.front();
}

// prompts of different lengths; every third token or so of the vocabulary
std::vector<Request> requests_for(int num_requests, int vocab_size) {
    std::vector<Request> requests;
    for (int i = 0; i < num_requests; ++i) {
        Request request;
        for (int t = 0; t < 3 + 5 * (i % 4); ++t)
            request.input_ids.push_back((7 * i + 3 * t * t + t) % vocab_size);
        for (int t = 0; t < 2 + 3 * (i % 3); ++t)
            request.output_ids.push_back((5 * i + t * t) % vocab_size);
        requests.push_back(request);
    }
    return requests;
}

EplbConfig config_with(int num_slots, int layer_updates_per_iter) {
    EplbConfig config;
    config.num_slots = num_slots;
    config.layer_updates_per_iter = layer_updates_per_iter;
    return config;
}

}  // namespace

TEST_CASE("every family routes and computes as transformers does") {
    for (const std::string& name : test::model_names()) {
        INFO(name);
        const Expected expected(name);
        const DecoderConfig config = read_decoder_config(test::model_folder(name));
        const Run run = run_model(name, expected.schedule(), {});
        REQUIRE(static_cast<int>(run.hidden.size()) == config.num_layers);
        int num_tokens = 0;
        int num_compared = 0;
        for (int layer = 0; layer < config.num_layers; ++layer) {
            INFO("layer " << layer);
            const std::string key = "layers." + std::to_string(layer);
            const std::vector<float>& hidden = run.hidden[layer];
            const std::vector<float> expected_hidden = expected.floats(key + ".hidden");
            REQUIRE(hidden.size() == expected_hidden.size());
            const auto size = static_cast<std::size_t>(config.moe.hidden_size);
            for (std::size_t begin = 0; begin < hidden.size(); begin += size) {
                float largest = 0;
                float difference = 0;
                for (std::size_t i = begin; i < begin + size; ++i) {
                    largest = std::max(largest, std::fabs(expected_hidden[i]));
                    difference = std::max(difference, std::fabs(hidden[i] - expected_hidden[i]));
                }
                INFO("token " << begin / size);
                REQUIRE(difference <= kRelative * largest);
            }

            REQUIRE(config.is_moe_layer(layer) == expected.has(key + ".expert_ids"));
            if (!config.is_moe_layer(layer))
                continue;
            const RouterSpec& spec = config.moe.router;
            const std::vector<float> scores = expected.floats(key + ".scores");
            const std::vector<std::int32_t> ids = expected.integers(key + ".expert_ids");
            const std::vector<std::int32_t>& own = run.expert_ids[layer];
            REQUIRE(own.size() == ids.size());
            const auto k = static_cast<std::size_t>(spec.top_k);
            for (std::size_t token = 0; token < ids.size() / k; ++token) {
                ++num_tokens;
                if (margin_of(spec, scores.data() + token * static_cast<std::size_t>(
                                                                spec.num_experts)) <= kMargin)
                    continue;
                ++num_compared;
                const auto first = static_cast<std::ptrdiff_t>(token * k);
                const auto last = first + static_cast<std::ptrdiff_t>(k);
                INFO("token " << token);
                REQUIRE(std::set(own.begin() + first, own.begin() + last) ==
                        std::set(ids.begin() + first, ids.begin() + last));
            }
        }
        CHECK(num_compared >= num_tokens * 9 / 10);
    }
}

TEST_CASE("all families that are known have a checkpoint to compare with") {
    std::set<std::string> compared;
    for (const std::string& name : test::model_names())
        compared.insert(read_decoder_config(test::model_folder(name)).family->model_type);
    for (const ModelFamily& family : model_families())
        CHECK(compared.count(family.model_type) == 1);
}

TEST_CASE("near-ties are counted by the margin of the choice") {
    // the same expert twice: two equal rows of the router's weights tie for every token
    const test::TemporaryFolder folder;
    test::write_changed_model("qwen3_moe", folder.path(), [](test::EditableTensor& tensor) {
        if (tensor.name.ends_with("mlp.gate.weight"))
            for (std::size_t row = 1; row < static_cast<std::size_t>(tensor.shape[0]); ++row)
                std::copy_n(tensor.data.begin(),
                            tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]),
                            tensor.data.begin() + static_cast<std::ptrdiff_t>(
                                                      row * tensor.data.size() /
                                                      static_cast<std::size_t>(tensor.shape[0])));
    });
    const DecoderConfig config = read_decoder_config(folder.path());
    const Checkpoint checkpoint(folder.path());
    LayerReader reader(config, checkpoint, config.num_needed_layers(), false,
                       {0, config.moe.router.num_experts});
    ThreadPool threads(1);
    CpuBackend backend(threads);
    const TokenSchedule schedule = Expected("qwen3_moe").schedule();
    CheckpointRun run(config, reader, schedule, {}, backend);
    REQUIRE(run.run());
    CHECK(run.num_routed() == std::int64_t{schedule.num_rows()} * config.moe.num_layers());
    CHECK(run.num_near_ties() == run.num_routed());
    CHECK(run_model("qwen3_moe", schedule, {}).num_near_ties < run.num_routed() / 10);
}

TEST_CASE("loops, limits and threads change no count and no id") {
    for (const std::string name : {"deepseek_v3", "gpt_oss", "mixtral", "qwen2_moe"}) {
        INFO(name);
        const DecoderConfig config = read_decoder_config(test::model_folder(name));
        const int num_experts = config.moe.router.num_experts;
        const std::vector<Request> requests = requests_for(9, config.moe.vocab_size);
        for (const Segment segment : {Segment::all, Segment::prompt, Segment::output}) {
            const TokenSchedule schedule =
                make_schedule(requests, {.ep_size = 2, .tokens_per_rank = 4, .segment = segment});
            for (const int updates : {-1, 0, 1}) {
                CheckpointRun::Options options;
                options.ep_size = 2;
                options.keep_ids = true;
                if (updates >= 0)
                    options.config = config_with(num_experts + 2, updates);
                const Run whole = run_model(name, schedule, options);
                CHECK(std::accumulate(whole.statistics.counts.begin(),
                                      whole.statistics.counts.end(), std::int64_t{0}) > 0);
                options.limits = {.attention_tokens = 5, .expert_tokens = 3};
                const Run cut = run_model(name, schedule, options, 1);
                CHECK(cut.statistics == whole.statistics);
                CHECK(cut.routed_ids == whole.routed_ids);
                CHECK(cut.hidden == whole.hidden);
                options.iteration_major = true;
                const Run by_iteration = run_model(name, schedule, options);
                CHECK(by_iteration.statistics == whole.statistics);
                CHECK(by_iteration.routed_ids == whole.routed_ids);
            }
        }
    }
}

TEST_CASE("tensors that stand at odd addresses are read all the same") {
    // a header that is one byte longer moves everything behind it
    const test::TemporaryFolder folder;
    const std::filesystem::path from = test::model_folder("olmoe");  // F32
    std::filesystem::copy_file(from / "config.json", folder / "config.json");
    std::string file = test::read_text(from / "model.safetensors");
    std::size_t header = 0;
    for (std::size_t i = 8; i-- > 0;)
        header = header << 8 | static_cast<unsigned char>(file[i]);
    file.insert(8 + header, " ");
    for (std::size_t i = 0; i < 8; ++i)
        file[i] = static_cast<char>((header + 1) >> (8 * i));
    test::write_text(folder / "model.safetensors", file);
    const DecoderConfig config = read_decoder_config(folder.path());
    const Checkpoint checkpoint(folder.path());
    LayerReader reader(config, checkpoint, config.num_needed_layers(), false,
                       {0, config.moe.router.num_experts});
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const TokenSchedule schedule = Expected("olmoe").schedule();
    CheckpointRun run(config, reader, schedule, {}, backend);
    std::vector<std::vector<float>> hidden;
    run.set_observer([&](const CheckpointRun::LayerTrace& trace) {
        hidden.emplace_back(trace.hidden.begin(), trace.hidden.end());
    });
    REQUIRE(run.run());
    CHECK(hidden == run_model("olmoe", schedule, {}).hidden);
}

TEST_CASE("weights that are no numbers end the run") {
    const test::TemporaryFolder folder;
    test::write_changed_model("mixtral", folder.path(), [](test::EditableTensor& tensor) {
        if (tensor.name == "model.layers.0.self_attn.o_proj.weight")
            tensor.data[0] = tensor.data[1] = std::byte{0xff};
    });
    const DecoderConfig config = read_decoder_config(folder.path());
    const Checkpoint checkpoint(folder.path());
    LayerReader reader(config, checkpoint, config.num_needed_layers(), false,
                       {0, config.moe.router.num_experts});
    ThreadPool threads(1);
    CpuBackend backend(threads);
    const TokenSchedule schedule = Expected("mixtral").schedule();
    CheckpointRun run(config, reader, schedule, {}, backend);
    CHECK(test::error_of([&] { run.run(); }).find("after layer 0") != std::string::npos);
}

TEST_CASE("sequences do not see each other") {
    const Expected expected("mixtral");
    const TokenSchedule together = expected.schedule();
    const Run run = run_model("mixtral", together, {});
    const DecoderConfig config = read_decoder_config(test::model_folder("mixtral"));
    const auto size = static_cast<std::size_t>(config.moe.hidden_size);
    for (int s = 0; s < together.num_sequences(); ++s) {
        const auto begin = static_cast<std::size_t>(together.sequence_begin[s]);
        const auto end =
            static_cast<std::size_t>(together.sequence_begin[static_cast<std::size_t>(s) + 1]);
        TokenSchedule alone;
        alone.token_ids.assign(together.token_ids.begin() + begin,
                               together.token_ids.begin() + end);
        alone.sequence_begin = {0, static_cast<std::int32_t>(end - begin)};
        TokenSchedule::Iteration iteration;
        iteration.rows.resize(end - begin);
        std::iota(iteration.rows.begin(), iteration.rows.end(), 0);
        iteration.rank_begin = {0, static_cast<std::int32_t>(end - begin)};
        alone.iterations = {iteration};
        const Run single = run_model("mixtral", alone, {});
        const std::vector<float>& all = run.hidden.back();
        CHECK(single.hidden.back() ==
              std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(begin * size),
                                 all.begin() + static_cast<std::ptrdiff_t>(end * size)));
    }
}

TEST_CASE("counts are those of the routed ids, rank by rank") {
    const Expected expected("deepseek_v3");
    const TokenSchedule schedule = expected.schedule(2);
    CheckpointRun::Options options;
    options.ep_size = 2;
    const Run run = run_model("deepseek_v3", schedule, options);
    for (int layer = 0; layer < run.statistics.num_layers(); ++layer) {
        const int layer_id = run.statistics.layers[layer];
        const std::vector<std::int32_t>& ids = run.expert_ids[layer_id];
        const auto k = static_cast<std::size_t>(run.statistics.top_k);
        std::vector<std::int64_t> counts(2 * static_cast<std::size_t>(run.statistics.num_experts));
        for (int s = 0; s < schedule.num_sequences(); ++s)
            for (auto row = static_cast<std::size_t>(schedule.sequence_begin[s]);
                 row <
                 static_cast<std::size_t>(schedule.sequence_begin[static_cast<std::size_t>(s) + 1]);
                 ++row)
                for (std::size_t j = 0; j < k; ++j)
                    ++counts[s % 2 * run.statistics.num_experts + ids[row * k + j]];
        for (int rank = 0; rank < 2; ++rank) {
            const std::span<const std::int64_t> row = run.statistics.row(0, layer, rank);
            CHECK(std::equal(row.begin(), row.end(),
                             counts.begin() + rank * run.statistics.num_experts));
        }
    }
}

TEST_CASE("the number of devices changes no count and no id") {
    for (const char* const name : {"deepseek_v3", "gpt_oss", "qwen2_moe", "mixtral"}) {
        const DecoderConfig config = read_decoder_config(test::model_folder(name));
        const TokenSchedule schedule = make_schedule(requests_for(9, config.moe.vocab_size),
                                                     {.ep_size = 4, .tokens_per_rank = 6});
        CheckpointRun::Options options;
        options.ep_size = 4;
        options.config = config_with(config.moe.router.num_experts + 4, 1);
        options.keep_ids = true;
        const Run one = run_model(name, schedule, options);
        for (const bool iteration_major : {false, true})
            for (const int num_devices :
                 {1, 2, 3, 11}) {  // the last have experts, or tokens, or none
                INFO(name << ", devices " << num_devices << ", iteration_major "
                          << iteration_major);
                options.iteration_major = iteration_major;
                options.limits.expert_tokens = 7;
                options.limits.attention_tokens = 5;
                const Run other = run_model_on_devices(name, schedule, options, num_devices);
                REQUIRE(other.statistics == one.statistics);
                REQUIRE(other.routed_ids == one.routed_ids);
                REQUIRE(other.num_near_ties == one.num_near_ties);
            }
    }
}

TEST_CASE("a run that is broken off goes on from its last layer") {
    const test::TemporaryFolder folder;
    const std::string name = "deepseek_v3";
    const DecoderConfig config = read_decoder_config(test::model_folder(name));
    const Checkpoint checkpoint(test::model_folder(name));
    LayerReader reader(config, checkpoint, config.num_needed_layers(), false,
                       {0, config.moe.router.num_experts});
    ThreadPool threads(2);
    CpuBackend backend(threads);
    const TokenSchedule schedule =
        make_schedule(requests_for(8, config.moe.vocab_size), {.ep_size = 2, .tokens_per_rank = 6});
    CheckpointRun::Options options;
    options.ep_size = 2;
    options.keep_ids = true;
    options.config = config_with(config.moe.router.num_experts + 4, 1);
    const Run whole = run_model(name, schedule, options);

    const RunStateFile file(folder / "stats.state");
    for (int stop_at = 1; stop_at < config.num_needed_layers(); ++stop_at) {
        INFO("stopped in layer " << stop_at);
        file.remove();
        CheckpointRun first(config, reader, schedule, options, backend);
        std::atomic<int> done = 0;  // the reader asks too
        first.set_observer([&](const CheckpointRun::LayerTrace&) { ++done; });
        first.set_stop([&] { return done == stop_at; });
        first.set_state_file(&file);
        REQUIRE_FALSE(first.run());
        CHECK(first.next_layer() == stop_at);

        CheckpointRun second(config, reader, schedule, options, backend);
        second.resume(file.load(second.fingerprint()));
        int resumed = 0;
        second.set_observer([&](const CheckpointRun::LayerTrace&) { ++resumed; });
        REQUIRE(second.run());
        CHECK(resumed == config.num_needed_layers() - stop_at);
        CHECK(second.num_routed() == std::int64_t{schedule.num_rows()} * config.moe.num_layers());
        CHECK(second.num_near_ties() == whole.num_near_ties);
        CHECK(second.take_statistics() == whole.statistics);
        CHECK(second.take_routed_ids() == whole.routed_ids);
    }

    // where no state can be written the run goes on
    const RunStateFile nowhere(folder / "missing" / "stats.state");
    CheckpointRun unsaved(config, reader, schedule, options, backend);
    int num_failures = 0;
    unsaved.set_state_file(&nowhere, [&](const std::string& why) {
        ++num_failures;
        CHECK(why.find("missing") != std::string::npos);
    });
    REQUIRE(unsaved.run());
    CHECK(num_failures == config.num_needed_layers() - 1);
    CHECK(unsaved.saved_layer() == 0);
    CHECK(unsaved.take_statistics() == whole.statistics);

    // a state of another run is refused
    const TokenSchedule other =
        make_schedule(requests_for(7, config.moe.vocab_size), {.ep_size = 2, .tokens_per_rank = 6});
    CheckpointRun third(config, reader, other, options, backend);
    CHECK(test::error_of([&] { third.resume(file.load(third.fingerprint())); }).find("another") !=
          std::string::npos);
    test::write_text(file.path(), test::read_text(file.path()).substr(0, 100));
    CHECK_STARTS_WITH(test::error_of([&] { file.load(third.fingerprint()); }),
                      file.path().string());
}
