#include "tests/formats/torch_bytes.h"

namespace eplb::test {
namespace {

// bit by bit, as the polynomial says
std::uint32_t crc32_of(std::string_view data) {
    std::uint32_t crc = 0xffffffff;
    for (const char letter : data) {
        crc ^= static_cast<std::uint8_t>(letter);
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320U : crc >> 1;
    }
    return ~crc;
}

}  // namespace

std::string number(std::uint64_t value, int size) {
    std::string bytes;
    for (int i = 0; i < size; ++i, value >>= 8)
        bytes += static_cast<char>(value);
    return bytes;
}

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries) {
    std::string archive;
    std::string directory;
    for (const auto& [name, data] : entries) {
        // flags, method, time, date, checksum, sizes, lengths of name and extra field
        const std::string common = number(0, 2) + number(0, 2) + number(0, 4) +
                                   number(crc32_of(data), 4) + number(data.size(), 4) +
                                   number(data.size(), 4) + number(name.size(), 2) + number(0, 2);
        directory += "PK\x01\x02" + number(20, 2) + number(20, 2) + common + number(0, 10) +
                     number(archive.size(), 4) + name;
        archive += "PK\x03\x04" + number(20, 2) + common + name + data;
    }
    const std::string counts = number(entries.size(), 2) + number(entries.size(), 2);
    return archive + directory + "PK\x05\x06" + number(0, 4) + counts +
           number(directory.size(), 4) + number(archive.size(), 4) + number(0, 2);
}

std::string torch_file_of(const std::string& pickle,
                          const std::vector<std::pair<std::string, std::string>>& storages) {
    std::vector<std::pair<std::string, std::string>> entries = {{"made/data.pkl", pickle}};
    for (const auto& [key, data] : storages)
        entries.emplace_back("made/data/" + key, data);
    return zip_of(entries);
}

std::string pickled_text(std::string_view text) {
    return "X" + number(text.size(), 4) + std::string(text);
}

std::string pickled_integer(std::int64_t value) {
    return "\x8a\x08" + number(static_cast<std::uint64_t>(value), 8);
}

std::string pickled_tuple(const std::vector<std::int64_t>& values) {
    std::string text = "(";
    for (const std::int64_t value : values)
        text += pickled_integer(value);
    return text + "t";
}

std::string pickled_tensor(const std::string& storage_type,
                           const std::string& key,
                           std::int64_t num_stored,
                           std::int64_t offset,
                           const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides) {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickled_text("storage") + "ctorch\n" +
           storage_type + "\n" + pickled_text(key) + pickled_text("cpu") +
           pickled_integer(num_stored) + "tQ" + pickled_integer(offset) + pickled_tuple(shape) +
           pickled_tuple(strides) + "\x89" + "ccollections\nOrderedDict\n)RtR";
}

std::string pickled_dict(const std::vector<std::pair<std::string, std::string>>& members) {
    std::string text = "}(";
    for (const auto& [key, value] : members)
        text += pickled_text(key) + value;
    return text + "u";
}

std::string pickled_list(const std::vector<std::string>& items) {
    std::string text = "](";
    for (const std::string& item : items)
        text += item;
    return text + "e";
}

}  // namespace eplb::test
