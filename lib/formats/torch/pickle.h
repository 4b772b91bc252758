#ifndef EPLB_FORMATS_TORCH_PICKLE_H
#define EPLB_FORMATS_TORCH_PICKLE_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// The part of Python's pickle format, protocols 2 to 5, that torch.save needs for dicts, lists,
// tuples, texts, numbers and tensors. A pickle is a program that may call anything; this reader
// knows the handful of names that stand for tensors, refuses every other one and executes nothing.
// Source of the format: Python's pickletools.py; of the names: torch/serialization.py.
namespace eplb {

struct PickleValue {
    enum class Kind {
        none,
        boolean,
        integer,
        real,
        text,
        list,
        tuple,
        dict,     // a collections.OrderedDict too
        global,   // a name that torch.save writes: "torch.IntStorage"
        storage,  // a persistent id: "storage", global, key, location, number of elements
        tensor,  // what torch._utils._rebuild_tensor_v2 is given: storage, offset, shape, strides…
    };

    Kind kind = Kind::none;
    std::int64_t integer = 0;  // 0 or 1 where kind == boolean
    double real = 0;
    std::string_view text;  // of texts and globals
    // list, tuple: the items; dict: key, value, key, value…; storage, tensor: the arguments. Values
    // may be shared and may hold themselves: never walk them without a bound.
    std::vector<const PickleValue*> items;
};

// All values of one pickle. Its texts are views into the bytes, which must outlive it.
struct Pickle {
    Pickle() = default;
    Pickle(const Pickle&) = delete;
    Pickle(Pickle&&) = default;
    Pickle& operator=(Pickle&&) = default;

    std::deque<PickleValue> values;  // never moved: the others point here
    const PickleValue* root = nullptr;
};

// Errors start with `name`. Memory is bounded by a multiple of the size of `bytes`.
Pickle parse_pickle(std::span<const std::byte> bytes, const std::string& name);

// The value under a key of a dict, the last one if the key was set again; null where there is none
// or where `dict` is no dict.
const PickleValue* find_key(const PickleValue& dict, std::string_view key);

}  // namespace eplb

#endif
