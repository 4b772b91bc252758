#include "lib/model/expert_size.h"

#include <nlohmann/json.hpp>

#include "lib/model/stored_types.h"

namespace eplb {
namespace {

using nlohmann::json;

struct StoredWeight {
    std::string dtype;
    double bytes = 0;
};

StoredWeight plain_weight(const ConfigFields& fields) {
    const std::optional<WeightType> type = plain_weight_type(fields);
    if (!type)
        fields.fail("torch_dtype", "is missing");
    if (*type == WeightType::f32)
        return {"f32", 4};
    return {*type == WeightType::f16 ? "f16" : "bf16", 2};
}

double fp8_bytes(const ConfigFields& quantization) {
    double block = 128.0 * 128.0;
    const json* const size = quantization.find("weight_block_size");
    if (size != nullptr && size->is_array() && size->size() == 2 && size->at(0).is_number() &&
        size->at(1).is_number())
        block = size->at(0).get<double>() * size->at(1).get<double>();
    return block >= 1 ? 1 + 4 / block : 1;
}

StoredWeight stored_weight(const ConfigFields& fields) {
    const std::optional<ConfigFields> quantization = quantization_fields(fields);
    if (!quantization)
        return plain_weight(fields);
    const std::string method = quantization->text_or("quant_method", "");
    if (method == "mxfp4")
        return {method, 0.5 + 1.0 / 32};
    if (method != "fp8")
        quantization->fail("quant_method", "is \"" + method + "\"; fp8 and mxfp4 are known");
    return {method, fp8_bytes(*quantization)};
}

}  // namespace

ExpertSize expert_size(const ModelJson& model) {
    const ConfigFields& fields = model.fields();
    const char* const width =
        fields.has("moe_intermediate_size") ? "moe_intermediate_size" : "intermediate_size";
    ExpertSize size;
    size.hidden_size = fields.size("hidden_size");
    size.intermediate_size = fields.size(width);
    const StoredWeight weight = stored_weight(fields);
    size.dtype = weight.dtype;
    size.bytes_per_weight = weight.bytes;
    return size;
}

double expert_bytes(const ModelJson& model) {
    return expert_size(model).bytes();
}

}  // namespace eplb
