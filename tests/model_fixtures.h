#ifndef EPLB_TESTS_MODEL_FIXTURES_H
#define EPLB_TESTS_MODEL_FIXTURES_H

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/safetensors.h"
#include "lib/collect/schedule.h"

namespace eplb::test {

// Tiny random checkpoints of each family and what Hugging Face transformers computes from them;
// tests/data/models/make_model_fixtures.py wrote them.
std::vector<std::string> model_names();
std::filesystem::path model_folder(const std::string& name);

// data/models: the configs of published models, without weights.
std::filesystem::path published_model(const std::string& name);

// What expected.safetensors of a model holds.
class Expected {
  public:
    explicit Expected(const std::string& model);

    bool has(const std::string& name) const { return file_.header().find(name) != nullptr; }
    std::vector<float> floats(const std::string& name) const;
    std::vector<std::int32_t> integers(const std::string& name) const;

    // The model's sequences, all in one iteration, those of each rank one after another.
    TokenSchedule schedule(int ep_size = 1) const;

  private:
    SafetensorsFile file_;
};

// A checkpoint's folder with some tensors changed: `change` may edit or drop (empty name) them.
struct EditableTensor {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> data;
};
void write_changed_model(const std::string& model,
                         const std::filesystem::path& folder,
                         const std::function<void(EditableTensor&)>& change);

}  // namespace eplb::test

#endif
