#include "tests/model_fixtures.h"

#include <algorithm>
#include <cstring>

#include "tests/test_support.h"

namespace eplb::test {
namespace {

template <typename T>
std::vector<T> read(const SafetensorsFile& file, const std::string& name) {
    const Tensor* const tensor = file.header().find(name);
    if (tensor == nullptr)
        throw std::runtime_error(file.name() + " lacks " + name);
    const std::span<const std::byte> bytes = file.bytes(*tensor);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

}  // namespace

std::filesystem::path model_folder(const std::string& name) {
    return test_data() / "models" / name;
}

std::filesystem::path published_model(const std::string& name) {
    return test_data().parent_path().parent_path() / "data" / "models" / name;
}

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(test_data() / "models"))
        if (entry.is_directory())
            names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

Expected::Expected(const std::string& model)
    : file_(model_folder(model) / "expected.safetensors") {}

std::vector<float> Expected::floats(const std::string& name) const {
    return read<float>(file_, name);
}

std::vector<std::int32_t> Expected::integers(const std::string& name) const {
    return read<std::int32_t>(file_, name);
}

TokenSchedule Expected::schedule(int ep_size) const {
    TokenSchedule schedule;
    schedule.token_ids = integers("input_ids");
    schedule.sequence_begin.push_back(0);
    for (const std::int32_t length : integers("sequence_lengths"))
        schedule.sequence_begin.push_back(schedule.sequence_begin.back() + length);
    TokenSchedule::Iteration iteration;
    for (int rank = 0; rank < ep_size; ++rank) {
        iteration.rank_begin.push_back(static_cast<std::int32_t>(iteration.rows.size()));
        for (int s = rank; s < schedule.num_sequences(); s += ep_size)
            for (std::int32_t row = schedule.sequence_begin[s];
                 row < schedule.sequence_begin[static_cast<std::size_t>(s) + 1]; ++row)
                iteration.rows.push_back(row);
    }
    iteration.rank_begin.push_back(static_cast<std::int32_t>(iteration.rows.size()));
    schedule.iterations.push_back(iteration);
    return schedule;
}

void write_changed_model(const std::string& model,
                         const std::filesystem::path& folder,
                         const std::function<void(EditableTensor&)>& change) {
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(model_folder(model) / "config.json", folder / "config.json",
                               std::filesystem::copy_options::overwrite_existing);
    std::vector<EditableTensor> tensors;
    for (const auto& entry : std::filesystem::directory_iterator(model_folder(model))) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with("model") || entry.path().extension() != ".safetensors")
            continue;
        const SafetensorsFile file(entry.path());
        for (const Tensor& tensor : file.header().tensors) {
            const std::span<const std::byte> bytes = file.bytes(tensor);
            EditableTensor editable = {
                tensor.name, tensor.dtype, tensor.shape, {bytes.begin(), bytes.end()}};
            change(editable);
            if (!editable.name.empty())
                tensors.push_back(std::move(editable));
        }
    }
    std::vector<TensorToWrite> to_write;
    for (const EditableTensor& tensor : tensors)
        to_write.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.data});
    OutputFile output((folder / "model.safetensors").string());
    write_safetensors(output, to_write);
    output.commit();
}

}  // namespace eplb::test
