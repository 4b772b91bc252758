#include "lib/formats/torch/torch_file.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

static_assert(std::endian::native == std::endian::little, "storages are little-endian");

using Kind = PickleValue::Kind;
using Bytes = std::span<const std::byte>;

const char* const kDamaged = "; the file is damaged, copy it again";

struct StorageType {
    std::string_view name;
    TorchDtype dtype;
    std::int64_t element_size;
};

constexpr StorageType kStorageTypes[] = {
    {"torch.ByteStorage", TorchDtype::uint8, 1},
    {"torch.CharStorage", TorchDtype::int8, 1},
    {"torch.ShortStorage", TorchDtype::int16, 2},
    {"torch.IntStorage", TorchDtype::int32, 4},
    {"torch.LongStorage", TorchDtype::int64, 8},
    {"torch.BoolStorage", TorchDtype::boolean, 1},
    {"torch.HalfStorage", TorchDtype::float16, 2},
    {"torch.BFloat16Storage", TorchDtype::bfloat16, 2},
    {"torch.FloatStorage", TorchDtype::float32, 4},
    {"torch.DoubleStorage", TorchDtype::float64, 8},
};

std::int64_t element_size_of(TorchDtype dtype) {
    return std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes),
                        [&](const StorageType& type) { return type.dtype == dtype; })
        ->element_size;
}

// IEEE 754 binary16
double half_value(std::uint16_t bits) {
    const int exponent = (bits >> 10) & 0x1f;
    const int fraction = bits & 0x3ff;
    double value = 0;
    if (exponent == 0x1f)
        value = fraction == 0 ? HUGE_VAL : std::nan("");
    else if (exponent == 0)
        value = std::ldexp(fraction, -24);
    else
        value = std::ldexp(fraction + 0x400, exponent - 25);
    return (bits & 0x8000) != 0 ? -value : value;
}

template <typename Value>
Value load(const std::byte* element) {
    Value value = 0;
    std::memcpy(&value, element, sizeof value);
    return value;
}

bool is_real(TorchDtype dtype) {
    return dtype == TorchDtype::float16 || dtype == TorchDtype::bfloat16 ||
           dtype == TorchDtype::float32 || dtype == TorchDtype::float64;
}

double real_at(TorchDtype dtype, const std::byte* element) {
    switch (dtype) {
        case TorchDtype::float16:
            return half_value(load<std::uint16_t>(element));
        case TorchDtype::bfloat16:
            return std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(element))
                                        << 16);
        case TorchDtype::float32:
            return load<float>(element);
        default:
            return load<double>(element);
    }
}

std::int64_t integer_at(TorchDtype dtype, const std::byte* element) {
    switch (dtype) {
        case TorchDtype::int8:
            return load<std::int8_t>(element);
        case TorchDtype::int16:
            return load<std::int16_t>(element);
        case TorchDtype::int32:
            return load<std::int32_t>(element);
        case TorchDtype::int64:
            return load<std::int64_t>(element);
        case TorchDtype::boolean:
            return load<std::uint8_t>(element) != 0;
        default:
            return load<std::uint8_t>(element);
    }
}

// "3, 17, 5" of the index-th element of a shape
std::string position_text(const std::vector<std::int64_t>& shape, std::int64_t index) {
    std::string text;
    for (std::size_t i = shape.size(); i-- > 0; index /= shape[i])
        text = std::to_string(index % shape[i]) + (text.empty() ? "" : ", ") + text;
    return text;
}

// where an element lies; steps from one to the next without multiplying
class ElementWalk {
  public:
    explicit ElementWalk(const TorchTensor& tensor)
        : tensor_(tensor), index_(tensor.shape.size(), 0), place_(tensor.offset) {}

    std::int64_t place() const { return place_; }

    void step() {
        for (std::size_t i = index_.size(); i-- > 0;) {
            place_ += tensor_.strides[i];
            if (++index_[i] < tensor_.shape[i])
                return;
            place_ -= tensor_.strides[i] * tensor_.shape[i];
            index_[i] = 0;
        }
    }

  private:
    const TorchTensor& tensor_;
    std::vector<std::int64_t> index_;
    std::int64_t place_;
};

bool starts_with(Bytes bytes, std::string_view start) {
    return bytes.size() >= start.size() &&
           std::memcmp(bytes.data(), start.data(), start.size()) == 0;
}

void check_is_zip(Bytes bytes, const std::string& name) {
    // a pickle of protocol 2 that begins with the number 0x1950a86a20f9469cfc6c
    if (starts_with(bytes, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."))
        throw Error(name + ": is in torch's old format; save it again with a torch from 1.6 on");
    if (!starts_with(bytes, "PK"))
        throw Error(name + ": is no file of torch.save, which starts as a zip archive does");
}

// the folder that all entries lie in, with its slash: torch names it after the file
std::string_view find_folder(const std::vector<ZipEntry>& entries, const std::string& name) {
    constexpr std::string_view kPickle = "/data.pkl";
    const ZipEntry* found = nullptr;
    for (const ZipEntry& entry : entries)
        if (entry.name.ends_with(kPickle)) {
            if (found != nullptr)
                throw Error(name + ": holds " + quoted_name(found->name) + " and " +
                            quoted_name(entry.name) +
                            ", one pickle is needed; save it again with torch.save");
            found = &entry;
        }
    if (found == nullptr)
        throw Error(name + ": is a zip archive without data.pkl, so no file of torch.save");
    return found->name.substr(0, found->name.size() - kPickle.size() + 1);
}

void check_byte_order(Bytes order, const std::string& name) {
    if (order.size() != 6 || !starts_with(order, "little"))
        throw Error(name +
                    ": was saved on a big-endian machine; load it there and save its numbers as "
                    "JSON");
}

// False where these are no sizes.
bool read_sizes(const PickleValue& tuple, std::vector<std::int64_t>& sizes) {
    if (tuple.kind != Kind::tuple)
        return false;
    for (const PickleValue* const item : tuple.items) {
        if (item->kind != Kind::integer || item->integer < 0)
            return false;
        sizes.push_back(item->integer);
    }
    return true;
}

// Whether all elements lie within a storage of num_stored, and are no more than that: an expanded
// dimension, of stride 0, would make a small file take any amount of memory.
bool lies_within(const TorchTensor& tensor, std::int64_t num_stored) {
    if (std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end())
        return true;
    std::int64_t num_elements = 1;
    std::int64_t last = tensor.offset;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
        std::int64_t reach = 0;
        if (__builtin_mul_overflow(num_elements, tensor.shape[i], &num_elements) ||
            __builtin_mul_overflow(tensor.shape[i] - 1, tensor.strides[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    }
    return num_elements <= num_stored && last < num_stored;
}

}  // namespace

std::int64_t TorchTensor::num_elements() const {
    if (std::find(shape.begin(), shape.end(), 0) != shape.end())
        return 0;
    std::int64_t product = 1;
    for (const std::int64_t size : shape)
        product *= size;
    return product;
}

void TorchFile::fail(const std::string& subject, const std::string& what) const {
    throw Error(name_ + ": " + subject + ": " + what);
}

void TorchFile::read_storage(const PickleValue& storage,
                             const std::string& subject,
                             TorchTensor& tensor) const {
    if (storage.kind != Kind::storage || storage.items[1]->kind != Kind::global ||
        storage.items[2]->kind != Kind::text || storage.items[4]->kind != Kind::integer)
        fail(subject, "is a tensor without a storage" + std::string(kDamaged));
    const std::string_view type_name = storage.items[1]->text;
    const auto* const type =
        std::find_if(std::begin(kStorageTypes), std::end(kStorageTypes),
                     [&](const StorageType& known) { return known.name == type_name; });
    if (type == std::end(kStorageTypes))
        fail(subject, "is a tensor of " + printable_name(type_name) + kDamaged);
    const std::string_view key = storage.items[2]->text;
    const auto found = storages_.find(key);
    if (found == storages_.end())
        fail(subject, "its storage " + quoted_name(key) + " is missing" + kDamaged);
    tensor.dtype = type->dtype;
    tensor.storage = found->second;
    const auto num_stored = static_cast<std::int64_t>(tensor.storage.size()) / type->element_size;
    if (storage.items[4]->integer != num_stored ||
        static_cast<std::int64_t>(tensor.storage.size()) % type->element_size != 0)
        fail(subject, "its storage " + quoted_name(key) + " has " +
                          std::to_string(tensor.storage.size()) + " bytes, which are not " +
                          std::to_string(storage.items[4]->integer) + " elements" + kDamaged);
}

TorchTensor TorchFile::tensor(const PickleValue& value, const std::string& subject) const {
    if (value.kind != Kind::tensor)
        fail(subject, "is no tensor; this is no dump, or one of a version that is not known here");
    TorchTensor tensor;
    read_storage(*value.items[0], subject, tensor);
    const PickleValue& offset = *value.items[1];
    if (offset.kind != Kind::integer || offset.integer < 0 ||
        !read_sizes(*value.items[2], tensor.shape) ||
        !read_sizes(*value.items[3], tensor.strides) ||
        tensor.shape.size() != tensor.strides.size())
        fail(subject, std::string("has a shape or strides that are none") + kDamaged);
    tensor.offset = offset.integer;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i)
        if (tensor.shape[i] <= 1)
            tensor.strides[i] = 0;  // never used, and may be any number
    const auto num_stored =
        static_cast<std::int64_t>(tensor.storage.size()) / element_size_of(tensor.dtype);
    if (!lies_within(tensor, num_stored))
        fail(subject, "does not fit into its storage of " + std::to_string(num_stored) +
                          " elements; the file is damaged, or the tensor is an expanded view: save "
                          "it again after .contiguous()");
    return tensor;
}

std::vector<std::int64_t> TorchFile::integers(const TorchTensor& tensor,
                                              const std::string& subject) const {
    const std::int64_t num_elements = tensor.num_elements();
    const std::int64_t element_size = element_size_of(tensor.dtype);
    std::vector<std::int64_t> values(num_elements);
    ElementWalk walk(tensor);
    for (std::int64_t i = 0; i < num_elements; ++i, walk.step()) {
        const std::byte* const element = tensor.storage.data() + walk.place() * element_size;
        std::int64_t& value = values[i];
        if (!is_real(tensor.dtype)) {
            value = integer_at(tensor.dtype, element);
            continue;
        }
        const double real = real_at(tensor.dtype, element);
        if (!(std::abs(real) < 0x1p63) || real != std::trunc(real))
            fail(subject, std::to_string(real) + " at [" + position_text(tensor.shape, i) +
                              "] is no integer; counts are needed, not averages or shares");
        value = static_cast<std::int64_t>(real);
    }
    return values;
}

TorchFile parse_torch_file(Bytes bytes, const std::string& name, ZipChecksums checksums) {
    check_is_zip(bytes, name);
    const std::vector<ZipEntry> entries = parse_zip(bytes, name, checksums);
    const std::string_view folder = find_folder(entries, name);
    TorchFile file;
    file.name_ = name;
    file.size_ = bytes.size();
    for (const ZipEntry& entry : entries) {
        constexpr std::string_view kData = "data/";
        if (!entry.name.starts_with(folder))
            continue;
        const std::string_view member = entry.name.substr(folder.size());
        if (member == "byteorder")
            check_byte_order(entry.data, name);
        else if (member == "data.pkl")
            file.pickle_ = parse_pickle(entry.data, name);
        else if (member.starts_with(kData))
            file.storages_.emplace(member.substr(kData.size()), entry.data);
    }
    return file;
}

}  // namespace eplb
