#ifndef EPLB_MODEL_CHECKPOINT_H
#define EPLB_MODEL_CHECKPOINT_H

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/base/safetensors.h"

namespace eplb {

// The tensors of a Hugging Face checkpoint: model.safetensors, or the files that
// model.safetensors.index.json lists. Files are mapped; nothing is read before it is used.
class Checkpoint {
  public:
    // Opens every file and checks its header. Errors name file and tensor.
    explicit Checkpoint(const std::filesystem::path& folder);

    const std::string& name() const { return name_; }  // the folder

    struct TensorView {
        const Tensor* tensor = nullptr;
        std::span<const std::byte> bytes;
        std::string where;  // "FILE: tensor \"NAME\": ", for errors
    };
    bool has(const std::string& name) const { return places_.count(name) > 0; }
    TensorView find(const std::string& name) const;  // an Error where there is none of that name

    // config.json, and names, sizes and times of the files: another checkpoint has another one.
    std::string identity() const;

  private:
    struct Place {
        std::size_t file;
        const Tensor* tensor;
    };
    std::string name_;
    std::vector<SafetensorsFile> files_;
    std::map<std::string, Place> places_;
};

}  // namespace eplb

#endif
