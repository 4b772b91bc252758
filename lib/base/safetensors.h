#ifndef EPLB_BASE_SAFETENSORS_H
#define EPLB_BASE_SAFETENSORS_H

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"

// The safetensors format: u64 little-endian header size N, N bytes of JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}}, then the data,
// row-major and little-endian, covered by the tensors without holes or overlap. Source: the format
// section of huggingface/safetensors' README and its Rust reader's checks.
namespace eplb {

struct Tensor {
    std::string name;
    std::string dtype;  // as in the file: "I64", "BF16", "F8_E4M3", …
    std::vector<std::int64_t> shape;
    std::size_t begin = 0;  // bytes, from the start of the data
    std::size_t end = 0;
};

// Bytes per element of a dtype, 0 for one that is unknown or not a whole number of bytes.
std::size_t dtype_size(std::string_view dtype);

// The checked content of a header. Immutable once made.
struct SafetensorsHeader {
    std::vector<Tensor> tensors;  // in the order of their data
    std::size_t data_begin = 0;   // 8 + N
    std::size_t file_size = 0;

    const Tensor* find(std::string_view name) const;  // null if absent

    std::vector<std::size_t> by_name;  // positions in tensors, ordered by name
};

// Checks every rule of the format; errors start with `name`.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name);

// A mapped file with its header: for large tensors that are used in place.
class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::filesystem::path& path);

    const std::string& name() const { return name_; }
    const SafetensorsHeader& header() const { return header_; }
    std::span<const std::byte> bytes(const Tensor& tensor) const;

  private:
    std::string name_;
    MappedFile file_;
    SafetensorsHeader header_;
};

// A file whose data are copied out: for many small tensors. A third quicker than mapping where each
// byte is needed once, and safe when somebody cuts the file off meanwhile.
//
// Files of one recording share their header's text more often than not: where `like` has the same
// header bytes and file size, its parsed header is used again.
class SafetensorsReader {
  public:
    explicit SafetensorsReader(const std::filesystem::path& path,
                               const SafetensorsReader* like = nullptr);

    const std::string& name() const { return file_.name(); }
    const SafetensorsHeader& header() const { return parsed_->header; }
    bool shares_header_with(const SafetensorsReader& other) const {
        return parsed_ == other.parsed_;
    }

    // Copies the bytes from `begin` on, counted from the start of the data as in Tensor. Any number
    // of threads may read at once.
    void read(std::size_t begin, std::span<std::byte> into) const;

  private:
    struct Parsed {
        std::string text;  // 8 + N bytes
        SafetensorsHeader header;
    };
    PositionedFile file_;
    std::shared_ptr<const Parsed> parsed_;
};

// Writes what the reference writer would: tensors by descending dtype, then name; the header padded
// with spaces to a multiple of 8 bytes. No two tensors may have one name, and data must have the
// size that dtype and shape ask for.
struct TensorToWrite {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> data;
};
void write_safetensors(OutputFile& output, std::vector<TensorToWrite> tensors);

}  // namespace eplb

#endif
