#include "lib/model/stored_types.h"

#include <nlohmann/json.hpp>

namespace eplb {

std::optional<WeightType> plain_weight_type(const ConfigFields& fields) {
    const char* const field = fields.has("torch_dtype") ? "torch_dtype" : "dtype";
    const std::string dtype = fields.text_or(field, "");
    if (dtype == "float32")
        return WeightType::f32;
    if (dtype == "float16")
        return WeightType::f16;
    if (dtype == "bfloat16")
        return WeightType::bf16;
    if (fields.has(field))
        fields.fail(field, "is \"" + dtype + "\"; float32, float16 and bfloat16 are known");
    return std::nullopt;
}

std::optional<ConfigFields> quantization_fields(const ConfigFields& fields) {
    constexpr const char* kField = "quantization_config";
    const nlohmann::json* const quantization = fields.find(kField);
    if (quantization == nullptr)
        return std::nullopt;
    if (!quantization->is_object())
        fields.fail(kField, "is no object");
    return ConfigFields(*quantization, fields.where() + kField + ": ");
}

}  // namespace eplb
