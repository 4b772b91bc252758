#include "lib/base/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/json_reader.h"

namespace eplb {
namespace {

constexpr std::size_t kLengthSize = 8;
constexpr std::uint64_t kMaxHeaderSize = 100'000'000;

struct Dtype {
    std::string_view name;
    std::size_t num_bits;
};

// in the reference writer's order: it puts the last ones first
constexpr Dtype kDtypes[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
};

const Dtype* find_dtype(std::string_view name) {
    const auto* const found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                           [&](const Dtype& dtype) { return dtype.name == name; });
    return found == std::end(kDtypes) ? nullptr : found;
}

std::string in_quotes(std::string_view text) {
    return '"' + std::string(text) + '"';
}

[[noreturn]] void fail_at(const std::string& name, std::string_view key, const std::string& what) {
    throw Error(name + ": key " + in_quotes(key) + ": " + what);
}

// Takes a header's JSON apart without building a tree: quick, and the only way to see a key that
// stands there twice.
class HeaderReader {
  public:
    HeaderReader(std::string_view text, const std::string& name)
        : json_(text, name + ": "), name_(name) {}

    // In the order of the header.
    std::vector<Tensor> read() {
        std::vector<Tensor> tensors;
        bool has_metadata = false;
        for (json_.open_object(); json_.next_member(key_);) {
            if (key_ != "__metadata__") {
                tensors.push_back(read_tensor());
                continue;
            }
            start_once(has_metadata, "");
            read_metadata();
        }
        json_.end();
        return tensors;
    }

  private:
    using Kind = JsonReader::Kind;

    [[noreturn]] void fail(const std::string& what) const { fail_at(name_, key_, what); }

    [[noreturn]] void refuse(const std::string& found, const char* needed) const {
        fail(found + " where " + needed + " is needed");
    }

    void need(Kind kind, const char* needed) {
        if (json_.peek() != kind)
            refuse(json_.found(), needed);
    }

    void start_once(bool& seen, const std::string& member) const {
        if (seen)
            fail((member.empty() ? "" : in_quotes(member) + ' ') + "stands there twice");
        seen = true;
    }

    void read_metadata() {
        need(Kind::object, "an object");
        std::set<std::string> keys;
        std::string key;
        for (json_.open_object(); json_.next_member(key);) {
            if (!keys.insert(key).second)
                fail(in_quotes(key) + " stands there twice");
            read_string("a string");
        }
    }

    Tensor read_tensor() {
        need(Kind::object, "an object");
        Tensor tensor;
        tensor.name = key_;
        bool has_dtype = false;
        bool has_shape = false;
        bool has_offsets = false;
        std::vector<std::int64_t> offsets;
        std::string member;
        for (json_.open_object(); json_.next_member(member);) {
            if (member == "dtype") {
                start_once(has_dtype, member);
                tensor.dtype = read_string("the name of a dtype");
            } else if (member == "shape") {
                start_once(has_shape, member);
                tensor.shape = read_sizes();
            } else if (member == "data_offsets") {
                start_once(has_offsets, member);
                offsets = read_sizes();
            } else {
                fail("unknown member " + in_quotes(member));
            }
        }
        if (!has_dtype || !has_shape || !has_offsets)
            fail("\"dtype\", \"shape\" and \"data_offsets\" are needed");
        if (offsets.size() != 2)
            fail("\"data_offsets\" must be [begin, end]");
        tensor.begin = static_cast<std::size_t>(offsets[0]);
        tensor.end = static_cast<std::size_t>(offsets[1]);
        return tensor;
    }

    std::string read_string(const char* needed) {
        need(Kind::string, needed);
        return json_.string();
    }

    std::vector<std::int64_t> read_sizes() {
        constexpr const char* kNeeded = "a list of non-negative integers";
        need(Kind::list, kNeeded);
        std::vector<std::int64_t> sizes;
        for (json_.open_list(); json_.next_item();) {
            need(Kind::number, kNeeded);
            const JsonNumber number = json_.number();
            if (!number.is_integer)
                refuse("a number that is no integer", kNeeded);
            if (number.text.starts_with('-'))
                refuse("a negative number", kNeeded);
            if (number.is_large)
                fail("a number that is too large");
            sizes.push_back(number.integer);
        }
        return sizes;
    }

    JsonReader json_;
    const std::string& name_;
    std::string key_;  // of the member of the top object
};

std::vector<Tensor> read_tensors(std::string_view header_json, const std::string& name) {
    try {
        return HeaderReader(header_json, name).read();
    } catch (const JsonSyntaxError& error) {
        throw Error(name + ": the header is no valid JSON at its byte " +
                    std::to_string(error.byte()));
    }
}

// nothing where it does not fit
bool size_in_bits(const Tensor& tensor, std::size_t num_bits, std::size_t& bits) {
    bits = 1;
    for (const std::int64_t extent : tensor.shape)
        if (__builtin_mul_overflow(bits, static_cast<std::size_t>(extent), &bits))
            return false;
    return !__builtin_mul_overflow(bits, num_bits, &bits);
}

void check_tensor(const std::string& name, const Tensor& tensor) {
    const Dtype* const dtype = find_dtype(tensor.dtype);
    if (dtype == nullptr)
        fail_at(name, tensor.name, "unknown dtype " + in_quotes(tensor.dtype));
    if (tensor.begin > tensor.end)
        fail_at(name, tensor.name, "data_offsets end before they begin");
    std::size_t bits = 0;
    if (!size_in_bits(tensor, dtype->num_bits, bits))
        fail_at(name, tensor.name, "the shape is too large");
    if (bits % 8 != 0)
        fail_at(name, tensor.name, "the data are no whole number of bytes");
    if (bits / 8 != tensor.end - tensor.begin)
        fail_at(name, tensor.name,
                "shape and dtype ask for " + std::to_string(bits / 8) +
                    " bytes, data_offsets hold " + std::to_string(tensor.end - tensor.begin));
}

// tensors must be in the order of their data
void check_coverage(const std::string& name,
                    const std::vector<Tensor>& tensors,
                    std::size_t data_size) {
    std::size_t expected = 0;
    for (const Tensor& tensor : tensors) {
        if (tensor.begin > expected)
            fail_at(name, tensor.name,
                    "a hole in the data before it, at bytes " + std::to_string(expected) + " to " +
                        std::to_string(tensor.begin));
        if (tensor.begin < expected)
            fail_at(name, tensor.name,
                    "its data overlap another tensor's at byte " + std::to_string(tensor.begin));
        if (tensor.end > data_size)
            fail_at(name, tensor.name,
                    "its data end at byte " + std::to_string(tensor.end) + " of " +
                        std::to_string(data_size) + ": the file is cut off; copy it again");
        expected = tensor.end;
    }
    if (expected != data_size)
        throw Error(name + ": " + std::to_string(data_size - expected) +
                    " bytes after the last tensor: the file is damaged; copy it again");
}

// [8 + N] out of the file's first eight bytes
std::size_t header_end(const std::string& name,
                       std::span<const std::byte> first_bytes,
                       std::size_t file_size) {
    if (first_bytes.size() < kLengthSize)
        throw Error(name + ": has " + std::to_string(file_size) +
                    " bytes, too few for a safetensors file");
    std::uint64_t length = 0;
    for (std::size_t i = kLengthSize; i-- > 0;)
        length = length << 8 | std::to_integer<std::uint64_t>(first_bytes[i]);
    if (std::memcmp(first_bytes.data(), "version ", kLengthSize) == 0)
        throw Error(name + ": is a pointer of Git LFS, not the file itself; run git lfs pull");
    if (length > kMaxHeaderSize)
        throw Error(name + ": is no safetensors file: its header would have " +
                    std::to_string(length) + " bytes, at most " + std::to_string(kMaxHeaderSize) +
                    " are allowed; copy it again");
    if (length > file_size - kLengthSize)
        throw Error(name + ": the header needs " + std::to_string(length) +
                    " bytes and the file has " + std::to_string(file_size - kLengthSize) +
                    " after its length: the file is cut off; copy it again");
    return kLengthSize + static_cast<std::size_t>(length);
}

std::vector<std::size_t> order_by_name(const std::string& name,
                                       const std::vector<Tensor>& tensors) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto is_before = [&](std::size_t a, std::size_t b) {
        return tensors[a].name < tensors[b].name;
    };
    if (!std::is_sorted(order.begin(), order.end(), is_before))  // the usual case costs one pass
        std::sort(order.begin(), order.end(), is_before);
    const auto twice = std::adjacent_find(order.begin(), order.end(),
                                          [&](auto a, auto b) { return !is_before(a, b); });
    if (twice != order.end())
        fail_at(name, tensors[*twice].name, "stands there twice");
    return order;
}

// `text` are the file's first 8 + N bytes
SafetensorsHeader parse_header(std::string_view text,
                               std::size_t file_size,
                               const std::string& name) {
    const std::string_view header_json = text.substr(kLengthSize);
    if (!header_json.starts_with('{'))
        throw Error(name + ": is no safetensors file: the header does not start with '{'");
    SafetensorsHeader header;
    header.data_begin = text.size();
    header.file_size = file_size;
    header.tensors = read_tensors(header_json, name);

    const auto position = [](const Tensor& tensor) { return std::pair(tensor.begin, tensor.end); };
    const auto is_before = [&](const Tensor& a, const Tensor& b) {
        return position(a) < position(b);
    };
    if (!std::is_sorted(header.tensors.begin(), header.tensors.end(), is_before))
        std::stable_sort(header.tensors.begin(), header.tensors.end(), is_before);
    header.by_name = order_by_name(name, header.tensors);
    for (const Tensor& tensor : header.tensors)
        check_tensor(name, tensor);
    check_coverage(name, header.tensors, file_size - header.data_begin);
    return header;
}

std::string read_header_text(const PositionedFile& file) {
    std::byte length[kLengthSize] = {};
    const auto first_bytes = std::span(length).first(std::min(file.size(), kLengthSize));
    file.read(0, first_bytes);
    std::string text(header_end(file.name(), first_bytes, file.size()), '\0');
    file.read(0, std::as_writable_bytes(std::span(text)));
    return text;
}

// Whether a file begins with this text: chunk by chunk, so that neither leaves the cache.
bool begins_with(const PositionedFile& file, std::string_view text) {
    std::array<char, std::size_t{1} << 15> chunk;
    if (file.size() < text.size())
        return false;
    for (std::size_t begin = 0; begin < text.size(); begin += chunk.size()) {
        const std::string_view part = text.substr(begin, chunk.size());
        file.read(begin, std::as_writable_bytes(std::span(chunk).first(part.size())));
        if (part != std::string_view(chunk.data(), part.size()))
            return false;
    }
    return true;
}

std::size_t dtype_position(std::string_view name) {
    const Dtype* const dtype = find_dtype(name);
    if (dtype == nullptr)
        throw std::logic_error("unknown dtype " + in_quotes(name));
    return static_cast<std::size_t>(dtype - std::begin(kDtypes));
}

void check_names(const std::vector<TensorToWrite>& tensors) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const TensorToWrite& tensor : tensors)
        names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end())
        throw std::logic_error("two tensors are called " + in_quotes(*twice));
}

void sort_like_reference(std::vector<TensorToWrite>& tensors) {
    std::vector<std::pair<std::size_t, std::size_t>> order(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i)
        order[i] = {dtype_position(tensors[i].dtype), i};
    std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
        if (a.first != b.first)
            return a.first > b.first;
        return tensors[a.second].name < tensors[b.second].name;
    });
    std::vector<TensorToWrite> sorted;
    sorted.reserve(tensors.size());
    for (const auto& [dtype, i] : order)
        sorted.push_back(std::move(tensors[i]));
    tensors = std::move(sorted);
}

std::string format_list(const std::vector<std::int64_t>& numbers) {
    std::string text = "[";
    for (const std::int64_t number : numbers) {
        if (text.size() > 1)
            text += ',';
        text += std::to_string(number);
    }
    return text + ']';
}

void check_to_write(const TensorToWrite& tensor) {
    const std::size_t num_bits = kDtypes[dtype_position(tensor.dtype)].num_bits;
    std::size_t bits = 0;
    if (!size_in_bits({tensor.name, tensor.dtype, tensor.shape, 0, 0}, num_bits, bits) ||
        bits != 8 * tensor.data.size())
        throw std::logic_error("tensor " + in_quotes(tensor.name) +
                               ": its data do not have the size of its shape");
}

// Streamed by hand: an ordered json object of n keys takes n^2 steps to build.
std::string format_header(const std::vector<TensorToWrite>& tensors) {
    std::string text(kLengthSize, '\0');
    text += '{';
    std::size_t begin = 0;
    for (const TensorToWrite& tensor : tensors) {
        check_to_write(tensor);
        const std::size_t end = begin + tensor.data.size();
        if (&tensor != &tensors.front())
            text += ',';
        text += nlohmann::json(tensor.name).dump();
        text += ":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":" + format_list(tensor.shape);
        text += ",\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(end) + "]}";
        begin = end;
    }
    text += '}';
    text.resize((text.size() + 7) / 8 * 8, ' ');
    for (std::size_t i = 0; i < kLengthSize; ++i)
        text[i] = static_cast<char>((text.size() - kLengthSize) >> (8 * i) & 0xff);
    return text;
}

}  // namespace

std::size_t dtype_size(std::string_view dtype) {
    const Dtype* const found = find_dtype(dtype);
    return found == nullptr || found->num_bits % 8 != 0 ? 0 : found->num_bits / 8;
}

const Tensor* SafetensorsHeader::find(std::string_view name) const {
    const auto found = std::lower_bound(
        by_name.begin(), by_name.end(), name,
        [&](std::size_t i, std::string_view key) { return tensors[i].name < key; });
    if (found == by_name.end() || tensors[*found].name != name)
        return nullptr;
    return &tensors[*found];
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& name) {
    const auto first_bytes = file.first(std::min(file.size(), kLengthSize));
    const std::size_t end = header_end(name, first_bytes, file.size());
    return parse_header({reinterpret_cast<const char*>(file.data()), end}, file.size(), name);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : name_(path.string()), file_(path), header_(parse_safetensors(file_.bytes(), name_)) {}

std::span<const std::byte> SafetensorsFile::bytes(const Tensor& tensor) const {
    return file_.bytes().subspan(header_.data_begin + tensor.begin, tensor.end - tensor.begin);
}

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path,
                                     const SafetensorsReader* like)
    : file_(path) {
    if (like != nullptr && like->file_.size() == file_.size() &&
        begins_with(file_, like->parsed_->text)) {
        parsed_ = like->parsed_;
        return;
    }
    std::string text = read_header_text(file_);
    SafetensorsHeader header = parse_header(text, file_.size(), file_.name());
    parsed_ = std::make_shared<Parsed>(Parsed{std::move(text), std::move(header)});
}

void SafetensorsReader::read(std::size_t begin, std::span<std::byte> into) const {
    file_.read(parsed_->header.data_begin + begin, into);
}

void write_safetensors(OutputFile& output, std::vector<TensorToWrite> tensors) {
    check_names(tensors);
    sort_like_reference(tensors);
    constexpr std::size_t kBufferSize = std::size_t{1} << 20;
    std::string buffer = format_header(tensors);
    for (const TensorToWrite& tensor : tensors) {
        if (buffer.size() + tensor.data.size() > kBufferSize) {
            output.write(buffer);
            buffer.clear();
        }
        if (tensor.data.size() > kBufferSize)
            output.write(tensor.data);
        else
            buffer.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    }
    output.write(buffer);
}

}  // namespace eplb
