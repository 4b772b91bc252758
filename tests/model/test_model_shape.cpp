#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/base/error.h"
#include "lib/model/model_shape.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_model_shape {

using eplb::test::error_of;
using eplb::test::read_text;

namespace {

using nlohmann::json;

std::vector<int> range(int start, int stop) {
    std::vector<int> layers(stop - start);
    std::iota(layers.begin(), layers.end(), start);
    return layers;
}

// The shape of a model of six layers with these fields besides.
ModelShape shape_of(const json& fields) {
    json config = {{"num_hidden_layers", 6}, {"num_experts", 8}, {"num_experts_per_tok", 2}};
    config.update(fields);
    return model_shape(ModelJson::parse(config.dump(), "config.json"));
}

std::vector<int> layers_of(const json& fields) {
    return shape_of(fields).moe_layers;
}

std::string error_for(const json& fields) {
    return error_of([&] { shape_of(fields); });
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("published models have the shapes that their makers publish") {
    const std::filesystem::path models =
        test::test_data().parent_path().parent_path() / "data/models";
    const auto shape = [&](const std::string& model) {
        return model_shape(ModelJson::read(models / model));
    };
    CHECK(shape("deepseek-r1") == ModelShape{256, 61, range(3, 61), 8, 1});
    CHECK(shape("deepseek-v2-lite") == ModelShape{64, 27, range(1, 27), 6, 0});
    CHECK(shape("glm-4.5") == ModelShape{160, 92, range(3, 92), 8, 1});
    CHECK(shape("gpt-oss-120b") == ModelShape{128, 36, range(0, 36), 4, 0});
    CHECK(shape("kimi-k2") == ModelShape{384, 61, range(1, 61), 8, 0});
    CHECK(shape("minimax-m2.5") == ModelShape{256, 62, range(0, 62), 8, 0});
    CHECK(shape("mixtral-8x7b") == ModelShape{8, 32, range(0, 32), 2, 0});
    CHECK(shape("olmoe-1b-7b") == ModelShape{64, 16, range(0, 16), 8, 0});
    CHECK(shape("qwen3-235b-a22b") == ModelShape{128, 94, range(0, 94), 8, 0});
}

TEST_CASE("each family's fields tell which layers are MoE layers") {
    CHECK(layers_of(json::object()) == range(0, 6));
    CHECK(layers_of({{"first_k_dense_replace", 2}, {"moe_layer_freq", 1}}) == range(2, 6));
    CHECK(layers_of({{"first_k_dense_replace", 1}, {"moe_layer_freq", 2}}) == std::vector{2, 4});
    CHECK(layers_of({{"moe_layer_freq", {0, 1, 1, 0, 0, 1}}}) == std::vector{1, 2, 5});
    CHECK(layers_of({{"decoder_sparse_step", 2}}) == std::vector{1, 3, 5});
    CHECK(layers_of({{"decoder_sparse_step", 1}, {"mlp_only_layers", {0, 3, 9}}}) ==
          std::vector{1, 2, 4, 5});
    CHECK(layers_of({{"decoder_sparse_step", 3}, {"mlp_only_layers", {5}}}) == std::vector{2});
    CHECK(layers_of(
              {{"mlp_layer_types", {"dense", "hash_moe", "moe", "dense", "sparse", "dense"}}}) ==
          std::vector{1, 2, 4});
    CHECK(layers_of({{"interleave_moe_layer_step", 2}}) == std::vector{1, 3, 5});
    CHECK(layers_of({{"interleave_moe_layer_step", 2}, {"moe_layers", {0, 4}}}) ==
          std::vector{0, 4});
    CHECK(layers_of({{"first_k_dense_replace", nullptr}, {"mlp_only_layers", nullptr}}) ==
          range(0, 6));
    CHECK(layers_of({{"num_dense_layers", 2}}) == range(2, 6));
    CHECK(layers_of({{"num_dense_layers", 0}}) == range(0, 6));
    CHECK(layers_of({{"moe_layer_num_skipped", 1}}) == range(1, 6));
    // switched off
    CHECK(layers_of({{"moe_layer_interval", nullptr}, {"use_dense_layers", false}}) == range(0, 6));
    // of other things
    CHECK(layers_of({{"moe_intermediate_size", 32}, {"layer_types", {"full_attention"}}}) ==
          range(0, 6));
}

TEST_CASE("a multimodal model's language part counts") {
    const json part = {{"num_hidden_layers", 4},
                       {"n_routed_experts", 16},
                       {"num_experts_per_tok", 4},
                       {"first_k_dense_replace", 1}};
    const ModelShape expected = {16, 4, {1, 2, 3}, 4, 0};
    for (const char* const key : {"text_config", "language_config"}) {
        CHECK(shape_of({{key, part}}) == expected);
        CHECK(model_shape(ModelJson::parse(json{{key, part}}.dump(), "c")) == expected);
    }
    CHECK(shape_of({{"text_config", {{"vocab_size", 5}}}}).num_experts == 8);
}

TEST_CASE("numbers under two names must agree") {
    CHECK(shape_of({{"num_local_experts", 8}, {"experts_per_token", 2}}).num_experts == 8);
    CHECK(has(error_for({{"num_local_experts", 9}}), "\"num_local_experts\" is 9 where"));
    CHECK(has(error_for({{"experts_per_token", 3}}), "\"experts_per_token\" is 3 where"));
}

TEST_CASE("a config.json that does not tell the shape is refused") {
    struct Case {
        json fields;
        std::string says;
    };
    const std::vector<Case> cases = {
        {{{"num_hidden_layers", nullptr}}, "\"num_hidden_layers\" is missing"},
        {{{"num_hidden_layers", 0}}, "must be an integer from 1 to 4096"},
        {{{"num_hidden_layers", 4097}}, "must be an integer from 1 to 4096"},
        {{{"num_hidden_layers", 6.0}}, "must be an integer"},
        {{{"num_hidden_layers", "6"}}, "must be an integer"},
        {{{"num_experts", nullptr}}, "does not give the number of experts"},
        {{{"num_experts", -1}}, "must be an integer"},
        {{{"num_experts", 18446744073709551615ULL}}, "must be an integer"},
        {{{"num_experts_per_tok", nullptr}}, "does not give the number of experts per token"},
        {{{"num_experts_per_tok", 9}}, "9 experts per token of 8"},
        {{{"first_k_dense_replace", 6}}, "no layer of the model has experts"},
        {{{"first_k_dense_replace", -1}}, "must be an integer"},
        {{{"moe_layer_freq", 0}}, "must be an integer"},
        {{{"moe_layer_freq", {1, 1}}}, "has 2 entries where there are 6 layers"},
        {{{"moe_layer_freq", {1, 1, 1, 1, 1, 2}}}, "must be an integer from 0 to 1"},
        {{{"moe_layer_freq", {0, 0, 0, 0, 0, 0}}}, "no layer of the model has experts"},
        {{{"decoder_sparse_step", 0}}, "must be an integer"},
        {{{"num_dense_layers", -1}}, "must be an integer"},
        {{{"moe_layer_num_skipped", 6}}, "no layer of the model has experts"},
        {{{"mlp_layer_types", "moe"}}, "\"mlp_layer_types\" is a value of type string, it must be"},
        {{{"mlp_layer_types", 6}}, "\"mlp_layer_types\" is 6, it must be a list"},
        {{{"mlp_layer_types", {"moe", "moe", "moe", "moe", "moe", 1}}}, "holds a value of type"},
        {{{"mlp_layer_types", {"moe", "moe", "moe", "moe", "moe", "\x1b[2J"}}}, "holds \"?[2J\""},
        {{{"mlp_only_layers", 3}}, "must be a list"},
        {{{"mlp_only_layers", {"3"}}}, "must be an integer"},
        {{{"mlp_layer_types", {"moe"}}}, "has 1 entries where there are 6 layers"},
        {{{"mlp_layer_types", {"moe", "moe", "moe", "moe", "moe", "mamba"}}}, "holds \"mamba\""},
        {{{"expert_layer_period", 2}}, "\"expert_layer_period\" tells which layers are MoE"},
        {{{"expert_layer_offset", 0}}, "\"expert_layer_offset\" tells which layers are MoE"},
        {{{"hybrid_override_pattern", "ME*"}}, "\"hybrid_override_pattern\" tells which layers"},
        {{{"layers_block_type", {"moe"}}}, "\"layers_block_type\" tells which layers are MoE"},
        {{{"moe_every_n_layers", 2}}, "in a way that is not known here"},
        {{{"moe_layers_enum", "1,2"}}, "in a way that is not known here"},
        {{{"moe_layer_frequency", 2}}, "in a way that is not known here"},
        {{{"num_sparse_encoder_layers", 3}}, "in a way that is not known here"},
        {{{"dense_layers", json::array()}}, "in a way that is not known here"},
        {{{"moe_\x1blayers", 1}}, "\"moe_?layers\" tells which layers are MoE"},
        {{{"num_nextn_predict_layers", 5000}}, "more than any model has"},
    };
    for (const Case& broken : cases) {
        CAPTURE(broken.fields);
        const std::string error = error_for(broken.fields);
        CHECK_STARTS_WITH(error, "config.json: ");
        CHECK(has(error, broken.says));
    }
    CHECK(has(error_of([] { ModelJson::parse("[]", "c"); }), "c: the content is a value of type"));
    CHECK(has(error_of([] { ModelJson::read("absent.json"); }), "absent.json: cannot open"));
    const std::string too_long(5000, 'x');  // for the system to look at
    CHECK_STARTS_WITH(error_of([&] { ModelJson::read(too_long); }), too_long + ": cannot open");
}

TEST_CASE("a config.json cut off at any byte is refused") {
    const std::string text =
        read_text(test::test_data() / "models" / "deepseek_v3" / "config.json");
    const std::size_t end = text.rfind('}');
    CHECK(model_shape(ModelJson::parse(text, "c")).num_experts == 16);
    for (std::size_t size = 0; size <= end; ++size)
        CHECK_STARTS_WITH(error_of([&] { ModelJson::parse(text.substr(0, size), "c"); }), "c: ");
}

}  // namespace eplb::test_model_shape
