#include "lib/collect/checkpoint_layers.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "tests/collect/runs.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_checkpoint_layers {

// Checkpoints against what transformers makes of them, and odd ones.

using test::CheckpointModel;
using test::Expected;
using test::Run;

namespace {

constexpr float kMargin = 1e-5F;
constexpr float kRelative = 1e-4F;

// By how much the selection of top_k scores was decided, groups included: the slow way.
float margin_of(const RouterSpec& spec, std::span<const float> scores) {
    float margin = INFINITY;
    const int size = spec.num_experts / spec.num_groups;
    const auto group_of = [&](int g) {
        std::vector<float> group(scores.begin() + g * size, scores.begin() + (g + 1) * size);
        std::sort(group.rbegin(), group.rend());
        return group;
    };
    std::vector<std::pair<float, int>> groups;
    for (int g = 0; g < spec.num_groups; ++g) {
        const std::vector<float> group = group_of(g);
        const bool single = spec.group_score == GroupScore::maximum || size == 1;
        groups.emplace_back(single ? group[0] : group[0] + group[1], g);
    }
    std::sort(groups.rbegin(), groups.rend());
    if (spec.top_groups < spec.num_groups)
        margin = groups[spec.top_groups - 1].first - groups[spec.top_groups].first;
    std::vector<float> allowed;
    for (int i = 0; i < spec.top_groups; ++i) {
        const std::vector<float> group = group_of(groups[i].second);
        allowed.insert(allowed.end(), group.begin(), group.end());
    }
    std::sort(allowed.rbegin(), allowed.rend());
    if (spec.top_k >= static_cast<int>(allowed.size()))
        return margin;
    return std::min(margin, allowed[spec.top_k - 1] - allowed[spec.top_k]);
}

// Of a token's values in [tokens][size].
template <typename T>
std::span<const T> row_of(const std::vector<T>& values, std::size_t token, int size) {
    const auto length = static_cast<std::size_t>(size);
    return std::span(values).subspan(token * length, length);
}

}  // namespace

TEST_CASE("every family routes and computes as transformers does") {
    for (const std::string& name : test::model_names()) {
        INFO(name);
        const Expected expected(name);
        const CheckpointModel model(test::model_folder(name));
        const DecoderConfig& config = model.config();
        const Run run = test::run(model, expected.schedule(), {.num_threads = 2});
        REQUIRE(static_cast<int>(run.output.size()) == config.num_layers);
        int num_tokens = 0;
        int num_compared = 0;
        for (int layer = 0; layer < config.num_layers; ++layer) {
            INFO("layer " << layer);
            const std::string key = "layers." + std::to_string(layer);
            const std::vector<float>& hidden = run.output[layer];
            const std::vector<float> expected_hidden = expected.floats(key + ".hidden");
            REQUIRE(hidden.size() == expected_hidden.size());
            const int size = config.moe.hidden_size;
            for (std::size_t token = 0; token < expected.integers("input_ids").size(); ++token) {
                float largest = 0;
                float difference = 0;
                for (int i = 0; i < size; ++i) {
                    const float wanted = row_of(expected_hidden, token, size)[i];
                    largest = std::max(largest, std::fabs(wanted));
                    difference =
                        std::max(difference, std::fabs(row_of(hidden, token, size)[i] - wanted));
                }
                INFO("token " << token);
                REQUIRE(difference <= kRelative * largest);
            }

            REQUIRE(config.is_moe_layer(layer) == expected.has(key + ".expert_ids"));
            if (!config.is_moe_layer(layer))
                continue;
            const RouterSpec& spec = config.moe.router;
            const std::vector<float> scores = expected.floats(key + ".scores");
            const std::vector<std::int32_t> ids = expected.integers(key + ".expert_ids");
            REQUIRE(run.expert_ids[layer].size() == ids.size());
            for (std::size_t token = 0; token < expected.integers("input_ids").size(); ++token) {
                ++num_tokens;
                if (margin_of(spec, row_of(scores, token, spec.num_experts)) <= kMargin)
                    continue;
                ++num_compared;
                const auto own = row_of(run.expert_ids[layer], token, spec.top_k);
                const auto wanted = row_of(ids, token, spec.top_k);
                INFO("token " << token);
                REQUIRE(std::set(own.begin(), own.end()) == std::set(wanted.begin(), wanted.end()));
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
    // the same expert many times: equal rows of the router's weights tie for every token
    const test::TemporaryFolder folder;
    test::write_changed_model("qwen3_moe", folder.path(), [](test::EditableTensor& tensor) {
        if (!tensor.name.ends_with("mlp.gate.weight"))
            return;
        const auto row_size = static_cast<std::ptrdiff_t>(tensor.data.size()) / tensor.shape[0];
        for (std::int64_t row = 1; row < tensor.shape[0]; ++row)
            std::copy_n(tensor.data.begin(), row_size, tensor.data.begin() + row * row_size);
    });
    const TokenSchedule schedule = Expected("qwen3_moe").schedule(2);
    for (const int num_devices : {1, 2}) {
        const test::RunOptions options = {.ep_size = 2, .num_devices = num_devices};
        const Run tied = test::run(CheckpointModel(folder.path()), schedule, options);
        CHECK(tied.num_routed == std::int64_t{schedule.num_rows()} * tied.statistics.num_layers());
        CHECK(tied.num_near_ties == tied.num_routed);
        const Run run =
            test::run(CheckpointModel(test::model_folder("qwen3_moe")), schedule, options);
        CHECK(run.num_near_ties < run.num_routed / 10);
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
    const TokenSchedule schedule = Expected("olmoe").schedule();
    const Run run = test::run(CheckpointModel(folder.path()), schedule, {.num_threads = 2});
    CHECK(run.output == test::run(CheckpointModel(from), schedule, {}).output);
}

TEST_CASE("weights that are no numbers end the run") {
    const test::TemporaryFolder folder;
    test::write_changed_model("mixtral", folder.path(), [](test::EditableTensor& tensor) {
        if (tensor.name == "model.layers.0.self_attn.o_proj.weight")
            tensor.data[0] = tensor.data[1] = std::byte{0xff};
    });
    const TokenSchedule schedule = Expected("mixtral").schedule();
    for (const auto last : {CheckpointModel::Last::computes, CheckpointModel::Last::only_routes})
        CHECK(test::error_of([&] {
                  test::run(CheckpointModel(folder.path(), last), schedule, {});
              }).find("after layer 0 are no finite numbers") != std::string::npos);
    CHECK(test::error_of([&] {
              test::run(CheckpointModel(folder.path(), CheckpointModel::Last::only_routes),
                        schedule, {.order = LoopOrder::by_iteration});
          }).find("after layer 1 are no finite numbers") != std::string::npos);
}

TEST_CASE("sequences do not see each other") {
    const CheckpointModel model(test::model_folder("mixtral"));
    const TokenSchedule together = Expected("mixtral").schedule();
    const Run run = test::run(model, together, {});
    const std::ptrdiff_t size = model.moe().hidden_size;
    for (int s = 0; s < together.num_sequences(); ++s) {
        const std::int32_t begin = together.sequence_begin[s];
        const std::int32_t end = together.sequence_begin[s + 1];
        TokenSchedule alone;
        alone.token_ids.assign(together.token_ids.begin() + begin,
                               together.token_ids.begin() + end);
        alone.sequence_begin = {0, end - begin};
        TokenSchedule::Iteration iteration;
        iteration.rows.resize(alone.token_ids.size());
        std::iota(iteration.rows.begin(), iteration.rows.end(), 0);
        iteration.rank_begin = {0, end - begin};
        alone.iterations = {iteration};
        const Run single = test::run(model, alone, {});
        const std::vector<float>& all = run.output.back();
        CHECK(single.output.back() ==
              std::vector<float>(all.begin() + begin * size, all.begin() + end * size));
    }
}

TEST_CASE("a last layer without experts in the checkpoint is enough") {
    // by iteration on devices, with a placement that changes: its experts are never asked for
    const test::TemporaryFolder folder;
    test::write_changed_model("mixtral", folder.path(), [](test::EditableTensor& tensor) {
        if (tensor.name.starts_with("model.layers.1.block_sparse_moe.experts."))
            tensor.name.clear();
    });
    const CheckpointModel model(folder.path(), CheckpointModel::Last::only_routes);
    const TokenSchedule schedule = make_schedule(test::requests_for(9, model.moe().vocab_size),
                                                 {.ep_size = 4, .tokens_per_rank = 4});
    const test::RunOptions options = {.ep_size = 4, .config = test::default_config(12, 1)};
    const Run expected =
        test::run(CheckpointModel(test::model_folder("mixtral")), schedule, options);
    CHECK(expected.num_moved_slots > 0);
    for (const LoopOrder order : {LoopOrder::by_layer, LoopOrder::by_iteration})
        for (const int num_devices : {1, 4}) {
            test::RunOptions other = options;
            other.order = order;
            other.num_devices = num_devices;
            CHECK(test::run(model, schedule, other).statistics == expected.statistics);
        }
}

}  // namespace eplb::test_checkpoint_layers
