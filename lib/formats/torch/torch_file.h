#ifndef EPLB_FORMATS_TORCH_TORCH_FILE_H
#define EPLB_FORMATS_TORCH_TORCH_FILE_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/formats/torch/pickle.h"
#include "lib/formats/torch/zip_archive.h"

// Files of torch.save, from torch 1.6 on: a zip archive of a pickle and of the storages that its
// tensors are views of. Source of the format: torch/serialization.py and torch/_utils.py.
namespace eplb {

enum class TorchDtype {
    uint8,
    int8,
    int16,
    int32,
    int64,
    boolean,
    float16,
    bfloat16,
    float32,
    float64
};

// A view into a storage; every element lies within it, and there are no more elements than it has.
struct TorchTensor {
    TorchDtype dtype = TorchDtype::uint8;
    std::vector<std::int64_t> shape;
    std::vector<std::int64_t> strides;  // in elements, as is offset
    std::int64_t offset = 0;
    std::span<const std::byte> storage;

    std::int64_t num_elements() const;
};

// A file's value and what its tensors need. Views into the bytes, which must outlive it.
class TorchFile {
  public:
    const std::string& name() const { return name_; }
    std::size_t size() const { return size_; }  // of the file in bytes
    const Pickle& pickle() const { return pickle_; }
    const PickleValue& root() const { return *pickle_.root; }

    // A value that must be a tensor. Whatever device it was saved from, its storage is in the file.
    // `subject` is what messages call it, after the file's name.
    TorchTensor tensor(const PickleValue& value, const std::string& subject) const;

    // The elements of a tensor, the last dimension the fastest. Floats must have integer values; an
    // Error names the first element that has none.
    std::vector<std::int64_t> integers(const TorchTensor& tensor, const std::string& subject) const;

  private:
    friend TorchFile parse_torch_file(std::span<const std::byte> bytes,
                                      const std::string& name,
                                      ZipChecksums checksums);

    [[noreturn]] void fail(const std::string& subject, const std::string& what) const;
    void read_storage(const PickleValue& storage,
                      const std::string& subject,
                      TorchTensor& tensor) const;

    std::string name_;
    std::size_t size_ = 0;
    Pickle pickle_;
    std::map<std::string_view, std::span<const std::byte>> storages_;  // by key
};

// Errors start with `name`.
TorchFile parse_torch_file(std::span<const std::byte> bytes,
                           const std::string& name,
                           ZipChecksums checksums = ZipChecksums::checked);

}  // namespace eplb

#endif
