#include "lib/collect/run_state.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

template <typename T>
TensorToWrite to_write(const std::string& name, const char* dtype, std::span<const T> values) {
    return {name, dtype, {static_cast<std::int64_t>(values.size())}, std::as_bytes(values)};
}

template <typename T>
std::vector<T> read(const SafetensorsFile& file, const std::string& name, const char* dtype) {
    const Tensor* const tensor = file.header().find(name);
    if (tensor == nullptr || tensor->dtype != dtype)
        throw Error(file.name() + ": is no state of a run; remove it");
    const std::span<const std::byte> bytes = file.bytes(*tensor);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty())  // memcpy() takes no null pointer
        std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
}

}  // namespace

bool RunStateFile::exists() const {
    return std::filesystem::exists(path_);
}

void RunStateFile::check_place() const {
    if (std::filesystem::exists(path_) && !std::filesystem::is_regular_file(path_))
        throw Error(path_.string() + ": is no regular file; name another one with " +
                    setting("state"));
    if (std::filesystem::is_regular_file(path_)) {
        bool is_state = false;
        try {
            const SafetensorsFile file(path_);
            is_state = file.header().find("fingerprint") != nullptr;
        } catch (const Error&) {
            // a damaged state or another file: both are kept
        }
        if (!is_state)
            throw Error(path_.string() +
                        ": is no state of a run; remove it, or name another file with " +
                        setting("state"));
    }
    const OutputFile writable(path_.string());
}

void RunStateFile::save(const RunState& state, std::span<const float> hidden) const {
    const std::vector<char> fingerprint(state.fingerprint.begin(), state.fingerprint.end());
    const std::vector<std::int64_t> numbers = {state.next_layer, state.num_near_ties,
                                               state.num_moved_slots,
                                               static_cast<std::int64_t>(state.slot_ids.size())};
    std::vector<TensorToWrite> tensors = {to_write<char>("fingerprint", "U8", fingerprint),
                                          to_write<std::int64_t>("numbers", "I64", numbers),
                                          to_write<float>("hidden", "F32", hidden),
                                          to_write<std::int64_t>("counts", "I64", state.counts)};
    for (std::size_t i = 0; i < state.slot_ids.size(); ++i)
        tensors.push_back(
            to_write<std::int32_t>("slot_ids." + std::to_string(i), "I32", state.slot_ids[i]));
    OutputFile output(path_.string());
    write_safetensors(output, std::move(tensors));
    output.commit();
}

RunState RunStateFile::load(const std::string& fingerprint) const {
    const SafetensorsFile file(path_);
    RunState state;
    const auto text = read<char>(file, "fingerprint", "U8");
    state.fingerprint.assign(text.begin(), text.end());
    if (state.fingerprint != fingerprint)
        throw Error(
            path_.string() +
            ": belongs to a run with another model, dataset or other options; run without " +
            setting("resume") + " to begin anew, which replaces it");
    const auto numbers = read<std::int64_t>(file, "numbers", "I64");
    if (numbers.size() != 4 ||
        std::any_of(numbers.begin(), numbers.end(), [](std::int64_t n) { return n < 0; }) ||
        numbers[0] > INT32_MAX)
        throw Error(path_.string() + ": is no state of a run; remove it");
    state.next_layer = static_cast<int>(numbers[0]);
    state.num_near_ties = numbers[1];
    state.num_moved_slots = numbers[2];
    state.hidden = read<float>(file, "hidden", "F32");
    state.counts = read<std::int64_t>(file, "counts", "I64");
    for (std::int64_t i = 0; i < numbers[3]; ++i)
        state.slot_ids.push_back(read<std::int32_t>(file, "slot_ids." + std::to_string(i), "I32"));
    return state;
}

void RunStateFile::remove() const {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path_, ignored))
        std::filesystem::remove(path_, ignored);
}

}  // namespace eplb
