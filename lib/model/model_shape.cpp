#include "lib/model/model_shape.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"
#include "lib/base/strict_json.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr int kMostLayers = 1 << 12;
constexpr int kMostExperts = 1 << 16;

// Members that decide which layers are MoE in families whose rule is not among ours, though their
// names do not tell.
constexpr std::string_view kUnknownRules[] = {"hybrid_override_pattern", "layers_block_type"};

// The members that are understood, of those whose names speak of MoE or dense layers.
constexpr std::string_view kKnownRules[] = {"interleave_moe_layer_step", "moe_layer_freq",
                                            "moe_layer_num_skipped", "moe_layers",
                                            "num_dense_layers"};

// One number under the names that families give it.
struct NamedNumber {
    const char* what;
    std::span<const char* const> names;
};

constexpr const char* kNumExpertsNames[] = {"n_routed_experts", "num_experts", "num_local_experts"};
constexpr const char* kTopKNames[] = {"num_experts_per_tok", "num_experts_per_token",
                                      "experts_per_token"};
constexpr NamedNumber kNumExperts = {"experts", kNumExpertsNames};
constexpr NamedNumber kTopK = {"experts per token", kTopKNames};

// Error: none of the names is there, or two of them with different numbers.
int number_of(const ConfigFields& fields, const NamedNumber& number) {
    const char* given = nullptr;
    int value = 0;
    std::string names;
    for (const char* const name : number.names) {
        names += std::string(names.empty() ? "" : ", ") + '"' + name + '"';
        if (!fields.has(name))
            continue;
        const int said = fields.size(name, kMostExperts);
        if (given != nullptr && said != value)
            fields.fail(name, "is " + std::to_string(said) + " where \"" + given + "\" is " +
                                  std::to_string(value));
        given = name;
        value = said;
    }
    if (given == nullptr)
        throw Error(fields.where() + "does not give the number of " + number.what + " (one of " +
                    names + "); is it the config.json of an MoE model?");
    return value;
}

template <std::size_t size>
bool is_among(const std::string_view (&names)[size], std::string_view name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool speaks_of_moe_layers(std::string_view name) {
    const auto has = [&](std::string_view part) { return name.find(part) != name.npos; };
    return has("layer") && (has("moe") || has("dense") || has("sparse") || has("expert"));
}

// null and false switch a rule off.
void refuse_unknown_rules(const ConfigFields& fields) {
    for (const auto& [name, value] : fields.object().items())
        if ((is_among(kUnknownRules, name) ||
             (speaks_of_moe_layers(name) && !is_among(kKnownRules, name))) &&
            !value.is_null() && value != false)
            throw Error(fields.where() + "field " + quoted_name(name) +
                        " tells which layers are MoE layers in a way that is not known here; give "
                        "the ids of the MoE layers");
}

// A list with an entry for each layer.
void check_layer_list(const ConfigFields& fields, const char* field, int num_layers) {
    const std::size_t size = fields.find(field)->size();
    if (size != static_cast<std::size_t>(num_layers))
        fields.fail(field, "has " + std::to_string(size) + " entries where there are " +
                               std::to_string(num_layers) + " layers");
}

// A list of layer ids, in which ids beyond the last layer do no harm; empty if there is none.
std::vector<int> layer_ids(const ConfigFields& fields, const char* field) {
    const json* const list = fields.find(field);
    return list == nullptr
               ? std::vector<int>()
               : json_integers(*list, fields.where() + "field \"" + field + '"', 0, kMostLayers);
}

bool contains(const std::vector<int>& layers, int layer) {
    return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

// "dense", or the name of an MoE layer's kind
std::vector<int> layers_by_type(const ConfigFields& fields, const json& types, int num_layers) {
    require_list(types, fields.where() + "field \"mlp_layer_types\"");
    check_layer_list(fields, "mlp_layer_types", num_layers);
    std::vector<int> layers;
    for (std::size_t layer = 0; layer < types.size(); ++layer) {
        const json& type = types[layer];
        const bool is_moe = type == "sparse" || type == "moe" || type == "hash_moe";
        if (!is_moe && type != "dense")
            fields.fail(
                "mlp_layer_types",
                "holds " +
                    (type.is_string() ? quoted_name(type.get<std::string>())
                                      : "a value of type " + std::string(type.type_name())) +
                    "; dense, sparse, moe and hash_moe are known");
        if (is_moe)
            layers.push_back(static_cast<int>(layer));
    }
    return layers;
}

// The rules of DeepSeek, Qwen, AFMoE and Hunyuan together: a model has the fields of one, and the
// others' rules are then true of all layers.
std::vector<int> layers_by_number(const ConfigFields& fields, int num_layers) {
    const int first = std::max({fields.index_or("first_k_dense_replace", 0),
                                fields.index_or("num_dense_layers", 0),
                                fields.index_or("moe_layer_num_skipped", 0)});
    const json* const given = fields.find("moe_layer_freq");
    const json* const listed = given != nullptr && given->is_array() ? given : nullptr;
    if (listed != nullptr)
        check_layer_list(fields, "moe_layer_freq", num_layers);
    const int frequency = listed == nullptr ? fields.size_or("moe_layer_freq", 1) : 1;
    const int step = fields.size_or("decoder_sparse_step", 1);
    const std::vector<int> dense = layer_ids(fields, "mlp_only_layers");
    std::vector<int> layers;
    for (int layer = 0; layer < num_layers; ++layer) {
        const bool is_listed =
            listed == nullptr ||
            json_integer((*listed)[layer], fields.where() + "field \"moe_layer_freq\": an entry", 0,
                         1) == 1;
        if (is_listed && layer >= first && layer % frequency == 0 && (layer + 1) % step == 0 &&
            !contains(dense, layer))
            layers.push_back(layer);
    }
    return layers;
}

// Llama 4's: listed, or the last of each group of interleave_moe_layer_step layers
std::vector<int> interleaved_layers(const ConfigFields& fields, int num_layers) {
    const int step = fields.size_or("interleave_moe_layer_step", 1);
    const std::vector<int> listed = layer_ids(fields, "moe_layers");
    std::vector<int> layers;
    for (int layer = 0; layer < num_layers; ++layer)
        if (listed.empty() ? (layer + 1) % step == 0 : contains(listed, layer))
            layers.push_back(layer);
    return layers;
}

std::vector<int> moe_layers(const ConfigFields& fields, int num_layers) {
    if (const json* const types = fields.find("mlp_layer_types"))
        return layers_by_type(fields, *types, num_layers);
    if (fields.has("interleave_moe_layer_step") || fields.has("moe_layers"))
        return interleaved_layers(fields, num_layers);
    return layers_by_number(fields, num_layers);
}

}  // namespace

ModelShape model_shape(const ModelJson& model) {
    const ConfigFields& fields = model.fields();
    ModelShape shape;
    shape.num_hidden_layers = fields.size("num_hidden_layers", kMostLayers);
    shape.num_experts = number_of(fields, kNumExperts);
    shape.top_k = number_of(fields, kTopK);
    if (shape.top_k > shape.num_experts)
        throw Error(fields.where() + "has " + std::to_string(shape.top_k) +
                    " experts per token of " + std::to_string(shape.num_experts) +
                    " (\"num_experts_per_tok\")");
    refuse_unknown_rules(fields);
    shape.moe_layers = moe_layers(fields, shape.num_hidden_layers);
    if (shape.moe_layers.empty())
        throw Error(fields.where() + "no layer of the model has experts");
    shape.num_mtp_layers = fields.index_or("num_nextn_predict_layers", 0);
    if (shape.num_mtp_layers > kMostLayers)
        fields.fail("num_nextn_predict_layers", "is more than any model has");
    return shape;
}

}  // namespace eplb
