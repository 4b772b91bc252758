#include "lib/formats/expert_size.h"

#include <initializer_list>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace eplb {
namespace {

using Json = nlohmann::json;

double positive_number(const Json& config, const char* key, const std::string& path) {
    constexpr double kMost = 1 << 30;  // no matrix is as wide, and products stay finite
    const auto found = config.find(key);
    if (found == config.end() || !found->is_number() || found->get<double>() <= 0)
        throw Error(path + ": \"" + key +
                    "\" must be a number above 0; is this the model's config.json?");
    if (found->get<double>() > kMost)
        throw Error(path + ": \"" + key + "\" is absurd; is this the model's config.json?");
    return found->get<double>();
}

double dtype_bytes(const Json& config, const std::string& path) {
    std::string dtype;
    for (const char* const key : {"dtype", "torch_dtype"})
        if (config.contains(key) && config[key].is_string())
            dtype = config[key].get<std::string>();
    if (dtype == "float32")
        return 4;
    if (dtype == "bfloat16" || dtype == "float16")
        return 2;
    throw Error(path + ": the \"torch_dtype\" '" + dtype +
                "' is of unknown size; give --bytes_per_expert instead");
}

double weight_bytes(const Json& config, const std::string& path) {
    const auto found = config.find("quantization_config");
    if (found == config.end() || found->is_null())
        return dtype_bytes(config, path);
    const std::string method = found->is_object() && found->contains("quant_method") &&
                                       found->at("quant_method").is_string()
                                   ? found->at("quant_method").get<std::string>()
                                   : "";
    if (method == "mxfp4")
        return 0.5 + 1.0 / 32;
    if (method != "fp8")
        throw Error(path + ": quantization_config has the quant_method \"" + method +
                    "\", of unknown size; give --bytes_per_expert instead");
    double block = 128.0 * 128.0;
    const auto size = found->find("weight_block_size");
    if (size != found->end() && size->is_array() && size->size() == 2 && size->at(0).is_number() &&
        size->at(1).is_number())
        block = size->at(0).get<double>() * size->at(1).get<double>();
    return block >= 1 ? 1 + 4 / block : 1;
}

}  // namespace

double expert_bytes(const std::string& model_config_path) {
    Json config;
    try {
        config = Json::parse(read_file(model_config_path));
    } catch (const Json::exception&) {
        throw Error(model_config_path + ": is no JSON; give the model's config.json");
    }
    // multimodal models keep the language model's part inside
    if (config.is_object() && config.contains("text_config") && config["text_config"].is_object()) {
        Json text = config["text_config"];
        for (const char* const key : {"quantization_config", "dtype", "torch_dtype"})
            if (!text.contains(key) && config.contains(key))
                text[key] = config[key];
        config = text;
    }
    if (!config.is_object())
        throw Error(model_config_path + ": is no JSON object; give the model's config.json");
    const bool has_own_size = config.contains("moe_intermediate_size");
    return 3 * positive_number(config, "hidden_size", model_config_path) *
           positive_number(config, has_own_size ? "moe_intermediate_size" : "intermediate_size",
                           model_config_path) *
           weight_bytes(config, model_config_path);
}

}  // namespace eplb
