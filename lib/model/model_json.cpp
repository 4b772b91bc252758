#include "lib/model/model_json.h"

#include <nlohmann/json.hpp>
#include <system_error>

#include "lib/base/file.h"
#include "lib/base/strict_json.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr const char* kLanguageParts[] = {"text_config", "language_config"};
constexpr const char* kTypesOfWeights[] = {"quantization_config", "torch_dtype", "dtype"};

}  // namespace

ModelJson::ModelJson(std::shared_ptr<const json> object, std::string name, const std::string& where)
    : object_(std::move(object)), name_(std::move(name)), fields_(*object_, where) {}

ModelJson ModelJson::parse(std::string_view text, const std::string& name) {
    json root = parse_strict_json(text, name);
    require_object(root, name + ": the content");
    for (const char* const key : kLanguageParts) {
        const json* const found = find_json_member(root, key);
        if (found == nullptr || !found->is_object() || !found->contains("num_hidden_layers"))
            continue;
        json part = *found;
        for (const char* const type : kTypesOfWeights)
            if (!part.contains(type) && root.contains(type))
                part[type] = root[type];
        return {std::make_shared<const json>(std::move(part)), name, name + ": " + key + ": "};
    }
    return {std::make_shared<const json>(std::move(root)), name, name + ": "};
}

ModelJson ModelJson::read(const std::filesystem::path& path) {
    std::error_code ignored;  // what cannot be looked at cannot be opened either
    const std::filesystem::path file =
        std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
    return parse(read_file(file), file.string());
}

}  // namespace eplb
