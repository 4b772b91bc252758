#ifndef EPLB_TESTS_FORMATS_TORCH_BYTES_H
#define EPLB_TESTS_FORMATS_TORCH_BYTES_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Archives and pickles by hand, for faults that torch.save does not make.
namespace eplb::test {

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// `size` bytes of a number, little-endian
std::string number(std::uint64_t value, int size);

// A stored archive of these names and contents, with checksums, without zip64 records.
std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries);

// What of torch.save's file only a reader of tensors needs: the pickle and storages by key.
std::string torch_file_of(const std::string& pickle,
                          const std::vector<std::pair<std::string, std::string>>& storages = {});

// Parts of a pickle of protocol 2, without its start "\x80\x02" and its end ".".
std::string pickled_text(std::string_view text);
std::string pickled_integer(std::int64_t value);
std::string pickled_tuple(const std::vector<std::int64_t>& values);
// `storage_type` as in "IntStorage"
std::string pickled_tensor(const std::string& storage_type,
                           const std::string& key,
                           std::int64_t num_stored,
                           std::int64_t offset,
                           const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides);
std::string pickled_dict(const std::vector<std::pair<std::string, std::string>>& members);
std::string pickled_list(const std::vector<std::string>& items);

}  // namespace eplb::test

#endif
