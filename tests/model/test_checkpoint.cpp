#include "lib/model/checkpoint.h"

#include "lib/model/decode.h"
#include "lib/model/layer_reader.h"
#include "lib/model/tensor_sources.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_checkpoint {

namespace {

// Of each layer that has any.
std::vector<ExpertIds> every_expert(const DecoderConfig& config) {
    return std::vector<ExpertIds>(config.moe.layers.size(),
                                  all_experts(config.moe.router.num_experts));
}

std::string error_of_changed(const std::string& model,
                             const std::function<void(test::EditableTensor&)>& change) {
    const test::TemporaryFolder folder;
    test::write_changed_model(model, folder.path(), change);
    return test::error_of([&] {
        const DecoderConfig config = read_decoder_config(folder.path());
        const Checkpoint checkpoint(folder.path());
        const LayerReader reader(config, checkpoint, config.num_layers, false,
                                 every_expert(config));
    });
}

void check_names(const std::string& error, const std::string& text) {
    INFO(error);
    CHECK(error.find(text) != std::string::npos);
}

void copy_model(const std::string& model, const std::filesystem::path& folder) {
    std::filesystem::copy(test::model_folder(model), folder,
                          std::filesystem::copy_options::recursive);
}

}  // namespace

TEST_CASE("any tensor that is missing or of another shape is named before the work") {
    for (const std::string model : {"deepseek_v3", "deepseek_v3_fp8", "gpt_oss", "qwen2_moe"}) {
        if (test::kSanitized && model != "gpt_oss")
            continue;
        INFO(model);
        CHECK(error_of_changed(model, [](test::EditableTensor&) {}).empty());
        std::vector<std::string> names;
        error_of_changed(model, [&](test::EditableTensor& tensor) {
            const bool is_of_other_experts =
                tensor.name.find(".experts.") != std::string::npos &&
                tensor.name.find(".experts.2.") == std::string::npos;
            if (tensor.name.find("model.layers.") == 0 && !is_of_other_experts)
                names.push_back(tensor.name);
        });
        const DecoderConfig config = read_decoder_config(test::model_folder(model));
        for (const std::string& name : names) {
            // the multi-token-prediction layer behind the last one is not used
            if (name.find("model.layers." + std::to_string(config.num_layers)) == 0)
                continue;
            check_names(error_of_changed(model,
                                         [&](test::EditableTensor& tensor) {
                                             if (tensor.name == name)
                                                 tensor.name.clear();
                                         }),
                        "\"" + name + "\"");
            check_names(error_of_changed(model,
                                         [&](test::EditableTensor& tensor) {
                                             if (tensor.name == name)
                                                 tensor.shape.insert(tensor.shape.begin(), 1);
                                         }),
                        "\"" + name + "\": has shape [1, ");
        }
    }
}

TEST_CASE("dtypes that cannot be read are named") {
    const auto retyped = [](const std::string& model, const std::string& name,
                            const std::string& dtype) {
        return error_of_changed(model, [&](test::EditableTensor& tensor) {
            if (tensor.name == name) {
                tensor.dtype = dtype;
                std::size_t size = dtype_size(dtype);
                for (const std::int64_t extent : tensor.shape)
                    size *= static_cast<std::size_t>(extent);
                tensor.data.resize(size);
            }
        });
    };
    check_names(retyped("mixtral", "model.layers.0.self_attn.q_proj.weight", "I64"), "is I64");
    check_names(retyped("mixtral", "model.layers.0.input_layernorm.weight", "F64"), "is F64");
    check_names(retyped("mixtral", "model.layers.0.block_sparse_moe.gate.weight", "F8_E4M3"),
                "is F8_E4M3");
    check_names(retyped("mixtral", "model.layers.0.self_attn.q_proj.weight", "F8_E4M3"),
                "weight_scale_inv");
    check_names(
        retyped("deepseek_v3_fp8", "model.layers.1.mlp.experts.0.up_proj.weight_scale_inv", "F16"),
        "it must be F32");
    check_names(retyped("gpt_oss", "model.layers.0.mlp.experts.down_proj_scales", "I8"),
                "it must be U8");
}

TEST_CASE("files that are missing or do not hold what the index says are named") {
    const test::TemporaryFolder folder;
    const std::filesystem::path model = folder / "model";
    copy_model("deepseek_v3_fp8", model);
    const Checkpoint checkpoint(model);
    CHECK(checkpoint.has("model.embed_tokens.weight"));
    CHECK(test::error_of([&] { checkpoint.find("nothing"); }).find("\"nothing\"") !=
          std::string::npos);

    const std::filesystem::path index = model / "model.safetensors.index.json";
    const std::string text = test::read_text(index);
    const auto error = [&] { return test::error_of([&] { const Checkpoint again(model); }); };
    test::write_text(index, text.substr(0, text.size() / 2));
    check_names(error(), "weight_map");
    test::write_text(index, "{\"weight_map\": {\"a\": \"../model-00001-of-00003.safetensors\"}}");
    check_names(error(), "no file's name");
    test::write_text(index, "{\"weight_map\": {\"a\": \"model-00001-of-00003.safetensors\"}}");
    check_names(error(), "lacks the tensor \"a\"");
    test::write_text(index, text);
    CHECK(error().empty());
    std::filesystem::remove(model / "model-00002-of-00003.safetensors");
    check_names(error(), "model-00002-of-00003.safetensors: is missing");
    std::filesystem::remove(index);
    check_names(error(), "neither model.safetensors nor");
}

TEST_CASE("what a plan counts by the config is what the checkpoint holds") {
    for (const std::string& name : test::model_names()) {
        INFO(name);
        const DecoderConfig config = read_decoder_config(test::model_folder(name));
        const Checkpoint checkpoint(test::model_folder(name));
        const ExpertIds all = all_experts(config.moe.router.num_experts);
        for (int layer = 0; layer < config.num_layers; ++layer) {
            PlannedTensors planned(config);
            load_layer(config, layer, all, planned);
            CheckpointTensors real(checkpoint);
            load_layer(config, layer, all, real);
            double bytes = 0;
            for (const std::span<const std::byte> part : real.parts())
                bytes += static_cast<double>(part.size());
            // norms, biases and routers are of another type in some checkpoints
            CHECK(planned.num_bytes() == Approx(bytes).epsilon(0.06));
        }
    }
}

TEST_CASE("scales of FP8 weights may be BF16") {
    const std::string name = "model.layers.1.mlp.experts.0.up_proj.weight";
    // values that BF16 can hold, once in each type
    const auto write = [&](const std::filesystem::path& folder, bool as_bf16) {
        test::write_changed_model("deepseek_v3_fp8", folder, [&](test::EditableTensor& tensor) {
            if (tensor.name != name + "_scale_inv")
                return;
            std::vector<std::byte> upper;
            for (std::size_t i = 0; i < tensor.data.size(); i += 4) {
                tensor.data[i] = tensor.data[i + 1] = std::byte{0};
                upper.insert(upper.end(), {tensor.data[i + 2], tensor.data[i + 3]});
            }
            if (as_bf16) {
                tensor.dtype = "BF16";
                tensor.data = upper;
            }
        });
        const Checkpoint checkpoint(folder);
        CheckpointTensors tensors(checkpoint);
        const std::vector<std::int64_t>& shape = checkpoint.find(name).tensor->shape;
        const WeightMatrix matrix =
            tensors.linear(name, static_cast<int>(shape[0]), static_cast<int>(shape[1]));
        std::vector<float> values(shape[0] * shape[1]);
        for (int row = 0; row < matrix.num_rows; ++row)
            decode_row(matrix, row, 0, matrix.num_columns,
                       values.data() + std::ptrdiff_t{row} * matrix.num_columns);
        return values;
    };
    const test::TemporaryFolder folder;
    CHECK(write(folder / "f32", false) == write(folder / "bf16", true));
}

TEST_CASE("a value of a vector that is no finite number is refused") {
    const test::TemporaryFolder folder;
    test::write_changed_model("mixtral", folder.path(), [](test::EditableTensor& tensor) {
        if (tensor.name == "model.layers.1.post_attention_layernorm.weight")
            std::fill(tensor.data.begin(), tensor.data.end(), std::byte{0xff});
    });
    const DecoderConfig config = read_decoder_config(folder.path());
    const Checkpoint checkpoint(folder.path());
    LayerReader reader(config, checkpoint, config.num_layers, false, every_expert(config));
    CHECK(test::error_of([&] { reader.load(1); }).find("post_attention_layernorm.weight") !=
          std::string::npos);
    CHECK(test::error_of([&] { reader.load(0); }).empty());
}

}  // namespace eplb::test_checkpoint
