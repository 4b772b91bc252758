#include "lib/model/checkpoint.h"

#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace eplb {
namespace {

using nlohmann::json;

// tensor name -> file name
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
    const json index = json::parse(read_file(path), nullptr, false);
    if (index.is_discarded() || !index.is_object() || !index.contains("weight_map") ||
        !index["weight_map"].is_object())
        throw Error(path.string() + ": holds no \"weight_map\"; download it again");
    std::map<std::string, std::string> files;
    for (const auto& [tensor, file] : index["weight_map"].items()) {
        if (!file.is_string() ||
            std::filesystem::path(file.get<std::string>()).filename() != file.get<std::string>())
            throw Error(path.string() + ": weight_map: " + file.dump() + " is no file's name");
        files[tensor] = file.get<std::string>();
    }
    return files;
}

}  // namespace

Checkpoint::Checkpoint(const std::filesystem::path& folder) : name_(folder.string()) {
    const std::filesystem::path single = folder / "model.safetensors";
    const std::filesystem::path index_path = folder / "model.safetensors.index.json";
    std::set<std::string> names;
    std::map<std::string, std::string> index;
    if (std::filesystem::exists(index_path)) {
        index = read_index(index_path);
        for (const auto& [tensor, file] : index)
            names.insert(file);
    } else if (std::filesystem::exists(single)) {
        names.insert(single.filename().string());
    } else {
        throw Error(name_ +
                    ": holds neither model.safetensors nor model.safetensors.index.json; download "
                    "the checkpoint in its Hugging Face layout");
    }
    for (const std::string& name : names) {
        const std::filesystem::path path = folder / name;
        if (!std::filesystem::exists(path))
            throw Error(path.string() + ": is missing, though " + index_path.filename().string() +
                        " lists it; finish the download");
        files_.emplace_back(path);
    }
    for (std::size_t file = 0; file < files_.size(); ++file)
        for (const Tensor& tensor : files_[file].header().tensors) {
            const auto listed = index.find(tensor.name);
            if (index.empty() ||
                (listed != index.end() && folder / listed->second == files_[file].name()))
                places_[tensor.name] = {file, &tensor};
        }
    for (const auto& [tensor, file] : index)
        if (places_.count(tensor) == 0)
            throw Error((folder / file).string() + ": lacks the tensor \"" + tensor +
                        "\" that the index places there; download the file again");
}

Checkpoint::TensorView Checkpoint::find(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end())
        throw Error(name_ + ": holds no tensor \"" + name + "\"");
    const SafetensorsFile& file = files_[found->second.file];
    return {found->second.tensor, file.bytes(*found->second.tensor),
            file.name() + ": tensor \"" + name + "\": "};
}

std::string Checkpoint::identity() const {
    std::vector<std::filesystem::path> paths;
    for (const SafetensorsFile& file : files_)
        paths.emplace_back(file.name());
    std::string text = read_file(std::filesystem::path(name_) / "config.json");
    for (const std::filesystem::path& path : paths)
        text += path.filename().string() + " " + std::to_string(std::filesystem::file_size(path)) +
                " " +
                std::to_string(std::filesystem::last_write_time(path).time_since_epoch().count()) +
                "\n";
    return text;
}

}  // namespace eplb
