#include "lib/formats/model_shape.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <system_error>

#include "lib/base/config_fields.h"
#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/statistics/quoted_name.h"
#include "lib/formats/strict_json.h"

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

// The language model's members: multimodal models keep them inside.
const json& language_part(const json& root, std::string& where) {
    for (const char* const key : {"text_config", "language_config"})
        if (const json* const part = find_json_member(root, key);
            part != nullptr && part->is_object() && part->contains("num_hidden_layers")) {
            where += std::string(key) + ": ";
            return *part;
        }
    return root;
}

// The one number that families give under different names.
int number_of(const ConfigFields& fields,
              std::initializer_list<const char*> names,
              const std::string& what) {
    const char* given = nullptr;
    int number = 0;
    for (const char* const name : names) {
        if (!fields.has(name))
            continue;
        const int value = fields.size(name, kMostExperts);
        if (given != nullptr && value != number)
            fields.fail(name, "is " + std::to_string(value) + " where \"" + given + "\" is " +
                                  std::to_string(number));
        given = name;
        number = value;
    }
    if (given == nullptr)
        throw Error(fields.where() + "does not give the " + what + " (\"" + *names.begin() +
                    "\" or a field of that kind); is it the config.json of an MoE model?");
    return number;
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
void refuse_unknown_rules(const json& part, const std::string& where) {
    for (const auto& [name, value] : part.items())
        if ((is_among(kUnknownRules, name) ||
             (speaks_of_moe_layers(name) && !is_among(kKnownRules, name))) &&
            !value.is_null() && value != false)
            throw Error(where + "field " + quoted_name(name) +
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

ModelShape parse_model_shape(std::string_view text, const std::string& name) {
    const json root = parse_strict_json(text, name);
    require_object(root, name + ": the content");
    std::string where = name + ": ";
    const json& part = language_part(root, where);
    const ConfigFields fields(part, where);
    ModelShape shape;
    shape.num_hidden_layers = fields.size("num_hidden_layers", kMostLayers);
    shape.num_experts = number_of(fields, {"n_routed_experts", "num_experts", "num_local_experts"},
                                  "number of experts");
    shape.top_k =
        number_of(fields, {"num_experts_per_tok", "num_experts_per_token", "experts_per_token"},
                  "number of experts per token");
    if (shape.top_k > shape.num_experts)
        throw Error(where + "has " + std::to_string(shape.top_k) + " experts per token of " +
                    std::to_string(shape.num_experts));
    refuse_unknown_rules(part, where);
    shape.moe_layers = moe_layers(fields, shape.num_hidden_layers);
    if (shape.moe_layers.empty())
        throw Error(where + "no layer of the model has experts");
    shape.num_mtp_layers = fields.index_or("num_nextn_predict_layers", 0);
    if (shape.num_mtp_layers > kMostLayers)
        fields.fail("num_nextn_predict_layers", "is more than any model has");
    return shape;
}

ModelShape read_model_shape(const std::string& path) {
    const std::filesystem::path given = path;
    std::error_code ignored;  // what cannot be looked at cannot be opened either
    const std::filesystem::path file =
        std::filesystem::is_directory(given, ignored) ? given / "config.json" : given;
    return parse_model_shape(read_file(file), file.string());
}

}  // namespace eplb
