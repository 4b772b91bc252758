#include "lib/formats/torch/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

using Kind = PickleValue::Kind;
using Bytes = std::span<const std::byte>;

constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";

constexpr std::string_view kGlobals[] = {
    kOrderedDict,        kRebuildTensor,      "torch.BFloat16Storage", "torch.BoolStorage",
    "torch.ByteStorage", "torch.CharStorage", "torch.DoubleStorage",   "torch.FloatStorage",
    "torch.HalfStorage", "torch.IntStorage",  "torch.LongStorage",     "torch.ShortStorage",
};

constexpr int kMinProtocol = 2;
constexpr int kMaxProtocol = 5;

// as pickletools.py calls them
enum Opcode : std::uint8_t {
    kMark = '(',
    kStop = '.',
    kEmptyTuple = ')',
    kBinFloat = 'G',
    kBinInt = 'J',
    kBinInt1 = 'K',
    kBinInt2 = 'M',
    kNone = 'N',
    kBinPersId = 'Q',
    kReduce = 'R',
    kBinUnicode = 'X',
    kEmptyList = ']',
    kAppend = 'a',
    kGlobal = 'c',
    kAppends = 'e',
    kBinGet = 'h',
    kLongBinGet = 'j',
    kBinPut = 'q',
    kLongBinPut = 'r',
    kSetItem = 's',
    kTuple = 't',
    kSetItems = 'u',
    kEmptyDict = '}',
    kProto = 0x80,
    kTuple1 = 0x85,
    kTuple2 = 0x86,
    kTuple3 = 0x87,
    kNewTrue = 0x88,
    kNewFalse = 0x89,
    kLong1 = 0x8a,
    kShortBinUnicode = 0x8c,
    kBinUnicode8 = 0x8d,
    kStackGlobal = 0x93,
    kMemoize = 0x94,
    kFrame = 0x95,
};

// What pickle's machine does, on values that only stand for what it would make.
class PickleParser {
  public:
    PickleParser(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

    Pickle parse() {
        if (take<std::uint8_t>() != kProto)
            fail("does not start with a protocol");
        read_protocol();
        for (auto opcode = take<std::uint8_t>(); opcode != kStop; opcode = take<std::uint8_t>())
            execute(opcode);
        if (position_ != bytes_.size())
            fail("goes on behind its end");
        if (stack_.size() != 1 || !marks_.empty())
            fail("does not end in one value");
        pickle_.root = stack_.back();
        return std::move(pickle_);
    }

  private:
    [[noreturn]] void fail(const std::string& what) const {
        throw Error(name_ + ": the pickle " + what + ", before its byte " +
                    std::to_string(position_) + ": the file is damaged; copy it again");
    }

    // ------------------------------------------------------------------ bytes

    Bytes take_bytes(std::uint64_t size) {
        if (size > bytes_.size() - position_)
            fail("is cut off");
        const Bytes taken = bytes_.subspan(position_, size);
        position_ += size;
        return taken;
    }

    template <typename Integer>
    Integer take() {
        Integer value = 0;
        std::memcpy(&value, take_bytes(sizeof value).data(), sizeof value);
        return value;
    }

    std::string_view take_text(std::uint64_t size) {
        const Bytes text = take_bytes(size);
        return {reinterpret_cast<const char*>(text.data()), text.size()};
    }

    std::string_view take_line() {
        const Bytes rest = bytes_.subspan(position_);
        const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
        if (end == rest.end())
            fail("is cut off");
        const std::string_view line = take_text(static_cast<std::uint64_t>(end - rest.begin()));
        ++position_;
        return line;
    }

    void read_protocol() {
        const int protocol = take<std::uint8_t>();
        if (protocol < kMinProtocol || protocol > kMaxProtocol)
            throw Error(name_ + ": pickle protocol " + std::to_string(protocol) +
                        " is none of 2 to 5; save the file again with torch.save");
    }

    // little-endian two's complement; Python's integers have no end, ours do
    std::int64_t take_long() {
        const std::size_t size = take<std::uint8_t>();
        if (size > sizeof(std::int64_t))
            fail("has an integer of " + std::to_string(size) + " bytes");
        const Bytes digits = take_bytes(size);
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < size; ++i)
            value |= static_cast<std::uint64_t>(digits[i]) << (8 * i);
        const bool is_negative = size > 0 && (digits[size - 1] & std::byte{0x80}) != std::byte{0};
        if (is_negative && size < sizeof value)
            value |= ~std::uint64_t{0} << (8 * size);
        return static_cast<std::int64_t>(value);
    }

    double take_real() {
        std::uint64_t bits = 0;
        for (const std::byte byte : take_bytes(sizeof bits))  // big-endian, unlike all else
            bits = (bits << 8) | static_cast<std::uint64_t>(byte);
        return std::bit_cast<double>(bits);
    }

    // ------------------------------------------------------------------ stack

    PickleValue& push(Kind kind) {
        PickleValue& value = pickle_.values.emplace_back();
        value.kind = kind;
        stack_.push_back(&value);
        return value;
    }

    void push_integer(Kind kind, std::int64_t integer) { push(kind).integer = integer; }
    void push_text(std::string_view text) { push(Kind::text).text = text; }

    // the part of the stack that is above the last mark
    std::size_t base() const { return marks_.empty() ? 0 : marks_.back(); }

    PickleValue& top() {
        if (stack_.size() <= base())
            fail("takes a value from an empty stack");
        return *stack_.back();
    }

    PickleValue& pop() {
        PickleValue& value = top();
        stack_.pop_back();
        return value;
    }

    std::vector<const PickleValue*> pop_some(std::size_t count) {
        if (stack_.size() - base() < count)
            fail("takes a value from an empty stack");
        const std::vector<const PickleValue*> some(stack_.end() - count, stack_.end());
        stack_.resize(stack_.size() - count);
        return some;
    }

    std::vector<const PickleValue*> pop_to_mark() {
        if (marks_.empty())
            fail("lacks a mark");
        std::vector<const PickleValue*> some = pop_some(stack_.size() - base());
        marks_.pop_back();
        return some;
    }

    // ------------------------------------------------------------------ opcodes

    void execute(std::uint8_t opcode) {
        switch (opcode) {
            case kProto:
                return read_protocol();
            case kFrame:
                return read_frame();
            case kMark:
                return marks_.push_back(stack_.size());

            case kNone:
                return void(push(Kind::none));
            case kNewTrue:
                return push_integer(Kind::boolean, 1);
            case kNewFalse:
                return push_integer(Kind::boolean, 0);
            case kBinInt:
                return push_integer(Kind::integer, take<std::int32_t>());
            case kBinInt1:
                return push_integer(Kind::integer, take<std::uint8_t>());
            case kBinInt2:
                return push_integer(Kind::integer, take<std::uint16_t>());
            case kLong1:
                return push_integer(Kind::integer, take_long());
            case kBinFloat:
                return void(push(Kind::real).real = take_real());
            case kShortBinUnicode:
                return push_text(take_text(take<std::uint8_t>()));
            case kBinUnicode:
                return push_text(take_text(take<std::uint32_t>()));
            case kBinUnicode8:
                return push_text(take_text(take<std::uint64_t>()));

            case kEmptyList:
                return void(push(Kind::list));
            case kEmptyDict:
                return void(push(Kind::dict));
            case kEmptyTuple:
                return push_tuple({});
            case kTuple1:
                return push_tuple(pop_some(1));
            case kTuple2:
                return push_tuple(pop_some(2));
            case kTuple3:
                return push_tuple(pop_some(3));
            case kTuple:
                return push_tuple(pop_to_mark());
            case kAppend:
                return extend(Kind::list, pop_some(1));
            case kAppends:
                return extend(Kind::list, pop_to_mark());
            case kSetItem:
                return extend(Kind::dict, pop_some(2));
            case kSetItems:
                return extend(Kind::dict, pop_to_mark());

            case kMemoize:
                return void(memo_[memo_.size()] = &top());
            case kBinPut:
                return void(memo_[take<std::uint8_t>()] = &top());
            case kLongBinPut:
                return void(memo_[take<std::uint32_t>()] = &top());
            case kBinGet:
                return push_known(take<std::uint8_t>());
            case kLongBinGet:
                return push_known(take<std::uint32_t>());

            case kGlobal:
                return read_global();
            case kStackGlobal:
                return read_stack_global();
            case kBinPersId:
                return read_storage();
            case kReduce:
                return reduce();
            default:
                refuse_opcode(opcode);
        }
    }

    [[noreturn]] void refuse_opcode(std::uint8_t opcode) const {
        throw Error(name_ + ": the pickle's opcode " + std::to_string(opcode) + " at its byte " +
                    std::to_string(position_ - 1) +
                    " is none that a dump needs: the file is no dump or damaged; copy it again, or "
                    "save it again with torch.save");
    }

    void read_frame() {
        const auto size = take<std::uint64_t>();
        if (size > bytes_.size() - position_)
            fail("is cut off");
    }

    void push_tuple(std::vector<const PickleValue*> items) {
        push(Kind::tuple).items = std::move(items);
    }

    void extend(Kind kind, const std::vector<const PickleValue*>& items) {
        PickleValue& container = top();
        if (container.kind != kind || (kind == Kind::dict && items.size() % 2 != 0))
            fail("adds to what is no list or dict");
        container.items.insert(container.items.end(), items.begin(), items.end());
    }

    void push_known(std::size_t id) {
        const auto known = memo_.find(id);
        if (known == memo_.end())
            fail("recalls value " + std::to_string(id) + ", which it never kept");
        stack_.push_back(known->second);
    }

    void push_global(std::string_view module, std::string_view member) {
        const std::string asked = std::string(module) + '.' + std::string(member);
        const auto* const known = std::find(std::begin(kGlobals), std::end(kGlobals), asked);
        if (known == std::end(kGlobals))
            throw Error(name_ + ": asks for " + quoted_name(asked) +
                        ", which no dump holds; nothing was executed");
        push(Kind::global).text = *known;
    }

    void read_global() {
        const std::string_view module = take_line();
        push_global(module, take_line());
    }

    void read_stack_global() {
        const PickleValue& member = pop();
        const PickleValue& module = pop();
        if (member.kind != Kind::text || module.kind != Kind::text)
            fail("asks for what is no name");
        push_global(module.text, member.text);
    }

    void read_storage() {
        const PickleValue& id = pop();
        if (id.kind != Kind::tuple || id.items.size() != 5)
            fail("has a persistent id that is no storage");
        push(Kind::storage).items = id.items;
    }

    void reduce() {
        const PickleValue& arguments = pop();
        const PickleValue& callable = pop();
        if (callable.kind != Kind::global || arguments.kind != Kind::tuple)
            fail("calls what cannot be called");
        const std::size_t count = arguments.items.size();
        if (callable.text == kOrderedDict && count == 0)
            push(Kind::dict);
        else if (callable.text == kRebuildTensor && (count == 6 || count == 7))
            push(Kind::tensor).items = arguments.items;
        else
            fail("calls " + std::string(callable.text) + " with " + std::to_string(count) +
                 " arguments");
    }

    Bytes bytes_;
    const std::string& name_;
    std::size_t position_ = 0;
    Pickle pickle_;
    std::vector<PickleValue*> stack_;
    std::vector<std::size_t> marks_;  // heights of the stack
    std::map<std::size_t, PickleValue*> memo_;
};

}  // namespace

Pickle parse_pickle(Bytes bytes, const std::string& name) {
    return PickleParser(bytes, name).parse();
}

const PickleValue* find_key(const PickleValue& dict, std::string_view key) {
    if (dict.kind != Kind::dict)
        return nullptr;
    for (std::size_t i = dict.items.size(); i >= 2; i -= 2)
        if (dict.items[i - 2]->kind == Kind::text && dict.items[i - 2]->text == key)
            return dict.items[i - 1];
    return nullptr;
}

}  // namespace eplb
