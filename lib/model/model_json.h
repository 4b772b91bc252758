#ifndef EPLB_MODEL_MODEL_JSON_H
#define EPLB_MODEL_MODEL_JSON_H

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "lib/base/config_fields.h"

namespace eplb {

// A model's config.json (Hugging Face's), parsed once for all who ask it. Of a multimodal model its
// text_config (or language_config) counts, with the types of the weights where only the model
// around it gives them.
class ModelJson {
  public:
    // name: of the file, which starts errors. Error: no strict JSON, or no object.
    static ModelJson parse(std::string_view text, const std::string& name);
    // path: a config.json, or the folder of a checkpoint, which holds one.
    static ModelJson read(const std::filesystem::path& path);

    const std::string& name() const { return name_; }
    const ConfigFields& fields() const { return fields_; }

  private:
    ModelJson(std::shared_ptr<const nlohmann::json> object,
              std::string name,
              const std::string& where);

    std::shared_ptr<const nlohmann::json> object_;
    std::string name_;
    ConfigFields fields_;  // of *object_
};

}  // namespace eplb

#endif
