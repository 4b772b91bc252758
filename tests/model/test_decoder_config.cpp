#include "lib/model/decoder_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/model/cost.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_decoder_config {

using nlohmann::json;

namespace {

json published(const std::string& model) {
    return json::parse(test::read_text(test::model_folder(model) / "config.json"));
}

DecoderConfig read(const json& config) {
    const test::TemporaryFolder folder;
    test::write_text(folder / "config.json", config.dump());
    return read_decoder_config(folder.path());
}

std::string error_with(const std::string& model, const char* field, const json& value) {
    json config = published(model);
    config[field] = value;
    return test::error_of([&] { read(config); });
}

std::string error_without(const std::string& model, const char* field) {
    json config = published(model);
    config.erase(field);
    return test::error_of([&] { read(config); });
}

void check_names(const std::string& error, const std::string& text) {
    INFO(error);
    CHECK(error.find("config.json: ") != std::string::npos);
    CHECK(error.find(text) != std::string::npos);
}

}  // namespace

TEST_CASE("a field that is missing is named") {
    for (const char* const field :
         {"model_type", "hidden_size", "num_hidden_layers", "n_routed_experts", "vocab_size",
          "num_experts_per_tok", "moe_intermediate_size", "num_attention_heads", "kv_lora_rank",
          "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "rms_norm_eps", "rope_theta",
          "intermediate_size", "norm_topk_prob", "routed_scaling_factor", "n_shared_experts"}) {
        INFO(field);
        check_names(error_without("deepseek_v3", field), std::string("\"") + field + "\"");
    }
    for (const char* const field : {"num_experts", "num_attention_heads", "hidden_size"})
        check_names(error_without("qwen3_moe", field), std::string("\"") + field + "\"");
    for (const char* const field : {"num_local_experts", "intermediate_size"})
        check_names(error_without("mixtral", field), std::string("\"") + field + "\"");
    check_names(error_without("qwen2_moe", "shared_expert_intermediate_size"),
                "\"shared_expert_intermediate_size\"");
}

TEST_CASE("what a field may not be is said") {
    check_names(error_with("deepseek_v3", "model_type", "llama"), "\"llama\"");
    check_names(error_with("deepseek_v3", "model_type", "llama"), "qwen3_moe");
    check_names(error_with("deepseek_v3", "hidden_size", 0), "\"hidden_size\"");
    check_names(error_with("deepseek_v3", "hidden_size", "48"), "\"hidden_size\"");
    check_names(error_with("deepseek_v3", "hidden_size", 1e300), "\"hidden_size\"");
    check_names(error_with("deepseek_v3", "hidden_size", 48.5), "\"hidden_size\"");
    check_names(error_with("deepseek_v3", "hidden_size", 1 << 23), "\"hidden_size\"");
    check_names(error_with("deepseek_v3", "num_attention_heads", 1 << 20),
                "\"num_attention_heads\"");
    check_names(error_with("deepseek_v3", "n_shared_experts", 1 << 21), "\"n_shared_experts\"");
    check_names(error_with("deepseek_v3", "n_group", 5), "\"n_group\"");
    check_names(error_with("deepseek_v3", "topk_group", 99), "\"topk_group\"");
    check_names(error_with("deepseek_v3", "num_experts_per_tok", 17), "\"num_experts_per_tok\"");
    check_names(error_with("deepseek_v3", "num_experts_per_tok", 9), "\"num_experts_per_tok\"");
    check_names(error_with("deepseek_v3", "scoring_func", "softmax"), "\"scoring_func\"");
    check_names(error_with("deepseek_v3", "hidden_act", "gelu"), "\"hidden_act\"");
    check_names(error_with("deepseek_v3", "first_k_dense_replace", 3), "experts");
    check_names(error_with("deepseek_v3", "torch_dtype", "int8"), "\"torch_dtype\"");
    check_names(error_with("deepseek_v3", "rope_scaling", {{"type", "longrope"}, {"factor", 2}}),
                "longrope");
    check_names(error_with("deepseek_v3", "quantization_config", {{"quant_method", "awq"}}),
                "\"awq\"");
    check_names(error_with("deepseek_v3_fp8", "quantization_config",
                           {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}}),
                "weight_block_size");
    check_names(error_with("gpt_oss", "quantization_config", nullptr), "MXFP4");
    check_names(error_with("gpt_oss", "layer_types", {"full_attention"}), "\"layer_types\"");
    check_names(error_without("gpt_oss", "layer_types"), "\"layer_types\" is missing");
    check_names(error_without("deepseek_v2", "topk_method"), "\"topk_method\"");
    check_names(error_with("deepseek_v3", "topk_method", "other"), "\"topk_method\"");
    check_names(error_with("minimax_m2", "use_qk_norm", false), "\"use_qk_norm\"");
    check_names(error_with("mixtral", "rms_norm_eps", -1), "\"rms_norm_eps\"");
    check_names(error_with("qwen3_moe", "mlp_only_layers", {"a"}), "\"mlp_only_layers\"");
    check_names(error_with("deepseek_v2", "norm_topk_prob", true), "\"norm_topk_prob\"");

    json sliding = published("qwen3_moe");
    sliding["use_sliding_window"] = true;
    sliding["sliding_window"] = 16;
    check_names(test::error_of([&] { read(sliding); }), "\"use_sliding_window\"");

    const test::TemporaryFolder folder;
    test::write_text(folder / "config.json", "{\"model_type\": ");
    check_names(test::error_of([&] { read_decoder_config(folder.path()); }), "JSON");
    std::filesystem::remove(folder / "config.json");
    CHECK(test::error_of([&] { read_decoder_config(folder.path()); }).find("config.json") !=
          std::string::npos);
}

TEST_CASE("newer spellings say the same") {
    json config = published("deepseek_v3");
    const DecoderConfig old_style = read(config);
    json rope = config["rope_scaling"];
    rope["rope_theta"] = config["rope_theta"];
    rope["rope_type"] = rope["type"];
    rope.erase("type");
    config.erase("rope_scaling");
    config.erase("rope_theta");
    config["rope_parameters"] = rope;
    config["dtype"] = config["torch_dtype"];
    config.erase("torch_dtype");
    const DecoderConfig new_style = read(config);
    CHECK(new_style.attention.rotary.frequencies == old_style.attention.rotary.frequencies);
    CHECK(new_style.attention.rotary.factor == old_style.attention.rotary.factor);
    CHECK(new_style.attention.scale == old_style.attention.scale);
    CHECK(new_style.plain_type == old_style.plain_type);
}

TEST_CASE("the softmax scale of DeepSeek-R1 is the published one") {
    // 192^-1/2 * (0.1 ln 40 + 1)^2, as DeepSeek's inference/model.py has it
    const DecoderConfig config = read_decoder_config(test::published_model("deepseek-r1"));
    CHECK(config.attention.scale * std::sqrt(192.0) == Approx(1.874).epsilon(1e-3));
    CHECK(config.attention.rotary.factor == 1);
    CHECK(config.moe.layers.front() == 3);
    CHECK(config.moe.layers.back() == 60);
    CHECK(config.moe.num_layers() == 58);
}

TEST_CASE("costs of published models are those of their model cards") {
    struct Row {
        const char* model;
        double billion_weights;  // whole model
        double gflop;            // per token of a forward pass, without attention's products
    };
    // parameter counts: the model cards; FLOPs: 2 x active weights without embedding and head
    for (const Row& row : {Row{"deepseek-r1", 671.0, 71.4}, Row{"kimi-k2", 1026, 61.0},
                           Row{"qwen3-235b-a22b", 235.1, 41.9}, Row{"qwen3-30b-a3b", 30.5, 5.5},
                           Row{"mixtral-8x7b", 46.7, 25.2}, Row{"olmoe-1b-7b", 6.9, 2.2}}) {
        INFO(row.model);
        const DecoderConfig config = read_decoder_config(test::published_model(row.model));
        const std::int64_t length = 4096;
        const Cost cost = plan_cost(config, {&length, 1});
        const MoeModelConfig& moe = config.moe;
        const double head = 1e-9 * moe.vocab_size * moe.hidden_size;
        const CheckpointSize size = checkpoint_size(config);
        CHECK(size.num_weights * 1e-9 + head == Approx(row.billion_weights).epsilon(0.003));
        // the last MoE layer's experts are not run
        const double last = 2.0 * 3 * moe.hidden_size *
                            (static_cast<double>(moe.router.top_k) * moe.intermediate_size +
                             moe.shared_intermediate_size);
        CHECK((cost.linear_flop + cost.expert_flop) / cost.num_tokens * 1e-9 + last * 1e-9 ==
              Approx(row.gflop).epsilon(0.03));
        CHECK(cost.read_bytes < size.num_bytes);
    }
}

}  // namespace eplb::test_decoder_config
