#include "lib/formats/torch/torch_file.h"

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/catch.h"
#include "tests/formats/torch_bytes.h"
#include "tests/test_support.h"

namespace eplb::test_torch_file {

using namespace eplb::test;
using nlohmann::json;
using Kind = PickleValue::Kind;

namespace {

const std::filesystem::path kFixtures = test_data() / "formats" / "torch";

std::string error_of_file(const std::string& content) {
    return error_of([&] { parse_torch_file(bytes_of(content), "x.pt"); });
}

std::string error_of_pickle(const std::string& content) {
    return error_of([&] { parse_pickle(bytes_of(content), "x.pt"); });
}

std::string error_of_zip(const std::string& content) {
    return error_of([&] { parse_zip(bytes_of(content), "x.pt"); });
}

// a whole pickle of protocol 2
std::string pickle_of(const std::string& opcodes) {
    return "\x80\x02" + opcodes + ".";
}

// All that a file says, for comparing: whatever is there is asked for.
std::vector<std::int64_t> all_integers(const TorchFile& file) {
    std::vector<std::int64_t> all;
    for (const PickleValue& value : file.pickle().values)
        if (value.kind == Kind::tensor) {
            const std::vector<std::int64_t> some =
                file.integers(file.tensor(value, "tensor"), "tensor");
            all.insert(all.end(), some.begin(), some.end());
        }
    return all;
}

}  // namespace

TEST_CASE("tensors of every dtype and of odd strides are read as torch had them") {
    const std::string content = read_text(kFixtures / "dtypes.pt");
    const TorchFile file = parse_torch_file(bytes_of(content), "dtypes.pt");
    const json expected = json::parse(read_text(kFixtures / "expected.json"))["dtypes"];
    const PickleValue* const good = find_key(file.root(), "good");
    REQUIRE(good != nullptr);
    REQUIRE(good->items.size() == 2 * expected.size());
    REQUIRE(expected.size() == 15);
    for (const auto& [name, tensor] : expected.items()) {
        CAPTURE(name);
        const PickleValue* const value = find_key(*good, name);
        REQUIRE(value != nullptr);
        const TorchTensor found = file.tensor(*value, name);
        CHECK(found.shape == tensor["shape"].get<std::vector<std::int64_t>>());
        CHECK(file.integers(found, name) == tensor["values"].get<std::vector<std::int64_t>>());
    }
}

TEST_CASE("numbers that are no integers, and expanded tensors, are refused") {
    const std::string content = read_text(kFixtures / "dtypes.pt");
    const TorchFile file = parse_torch_file(bytes_of(content), "dtypes.pt");
    const PickleValue* const refused = find_key(file.root(), "refused");
    REQUIRE(refused != nullptr);
    const auto check = [&](const std::string& name, const std::string& fault) {
        const PickleValue* const value = find_key(*refused, name);
        REQUIRE(value != nullptr);
        CHECK_STARTS_WITH(error_of([&] { file.integers(file.tensor(*value, name), name); }),
                          "dtypes.pt: " + name + ": " + fault);
    };
    check("half", "2.500000 at [1] is no integer");
    check("infinite", "inf at [0] is no integer");
    check("not_a_number", "nan at [0] is no integer");
    check("too_large", "9223372036854775808.000000 at [0] is no integer");
    check("expanded", "does not fit into its storage of 1 elements");
}

TEST_CASE("Python's other values are read as they were") {
    const std::string content = read_text(kFixtures / "dtypes.pt");
    const TorchFile file = parse_torch_file(bytes_of(content), "dtypes.pt");
    const auto at = [&](const std::string& key) -> const PickleValue& {
        const PickleValue* const value = find_key(file.root(), key);
        REQUIRE(value != nullptr);
        return *value;
    };
    REQUIRE(at("texts").items.size() == 3);
    CHECK(at("texts").items[1]->text == "\xc3\xa4");
    CHECK(at("texts").items[2]->text.empty());
    CHECK(at("none").kind == Kind::none);
    CHECK(at("flags").kind == Kind::tuple);
    CHECK(at("flags").items[0]->kind == Kind::boolean);
    CHECK(at("flags").items[0]->integer == 1);
    CHECK(at("flags").items[1]->integer == 0);
    std::vector<std::int64_t> numbers;
    for (const PickleValue* const item : at("numbers").items)
        numbers.push_back(item->integer);
    CHECK(numbers ==
          std::vector<std::int64_t>{0, 255, 256, 65535, 65536, -1, 2147483648, INT64_MIN});
    CHECK(at("real").kind == Kind::real);
    CHECK(at("real").real == -0.375);
    const PickleValue& nested = at("nested");
    REQUIRE(nested.items.size() == 3);
    CHECK(nested.items[0]->kind == Kind::list);
    CHECK(nested.items[1]->kind == Kind::dict);
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(nested.items[2]->items[i]->items.size() == i + 1);
    CHECK(find_key(file.root(), "absent") == nullptr);
    CHECK(find_key(nested, "absent") == nullptr);
}

TEST_CASE("archives that others wrote hold the same as torch's own") {
    const std::string original = read_text(kFixtures / "stat.pt");
    const std::vector<std::int64_t> expected =
        all_integers(parse_torch_file(bytes_of(original), "stat.pt"));
    REQUIRE(expected.size() == 5 * 6 * 8);
    for (const char* const name : {"zip64.pt", "streamed.pt"}) {
        CAPTURE(name);
        const std::string content = read_text(kFixtures / name);
        CHECK(all_integers(parse_torch_file(bytes_of(content), name)) == expected);
    }
    // a comment behind the directory
    const std::string with_comment =
        original.substr(0, original.size() - 2) + number(5, 2) + "hello";
    CHECK(all_integers(parse_torch_file(bytes_of(with_comment), "x.pt")) == expected);
}

TEST_CASE("files that cannot be read are refused with what to do") {
    const auto check = [](const std::string& name, const std::string& fault) {
        const std::string content = read_text(kFixtures / name);
        CHECK_STARTS_WITH(error_of([&] { parse_torch_file(bytes_of(content), name); }),
                          name + ": " + fault);
    };
    check("legacy.pt", "is in torch's old format; save it again with a torch from 1.6 on");
    check("call.pt", "asks for \"posix.system\", which no dump holds; nothing was executed");
    check("compressed.pt", "entry \"stat/data.pkl\" is compressed");
    check("big_endian.pt", "was saved on a big-endian machine");
    CHECK_STARTS_WITH(error_of_file("{\"logical_count\": []}"), "x.pt: is no file of torch.save");
    CHECK_STARTS_WITH(error_of_file(""), "x.pt: is no file of torch.save");
    CHECK_STARTS_WITH(error_of_file(zip_of({{"a/b.txt", "c"}})),
                      "x.pt: is a zip archive without data.pkl");
    CHECK_STARTS_WITH(error_of_file(zip_of({{"a/data.pkl", "c"}, {"b/data.pkl", "c"}})),
                      "x.pt: holds \"a/data.pkl\" and \"b/data.pkl\"");
}

TEST_CASE("a file cut off at any byte is an error") {
    for (const char* const name : {"stat.pt", "zip64.pt", "streamed.pt"}) {
        const std::string content = read_text(kFixtures / name);
        for (std::size_t size = 0; size < content.size(); ++size) {
            CAPTURE(name, size);
            // a copy, so that a sanitizer sees what reads behind its end
            const std::vector<char> part(content.begin(), content.begin() + size);
            CHECK_STARTS_WITH(
                error_of([&] { parse_torch_file(std::as_bytes(std::span(part)), "x.pt"); }),
                "x.pt: ");
        }
    }
}

TEST_CASE("a wrong byte is an error or changes no number") {
    for (const char* const name : {"stat.pt", "zip64.pt", "streamed.pt"}) {
        std::string content = read_text(kFixtures / name);
        const std::vector<std::int64_t> expected =
            all_integers(parse_torch_file(bytes_of(content), name));
        for (std::size_t i = 0; i < content.size(); ++i)
            for (const int flip : {0x01, 0x80, 0xff}) {
                CAPTURE(name, i, flip);
                const char before = content[i];
                content[i] = static_cast<char>(before ^ flip);
                std::vector<std::int64_t> found = expected;
                const std::string error = error_of(
                    [&] { found = all_integers(parse_torch_file(bytes_of(content), "x.pt")); });
                if (error.empty() ? found != expected : !error.starts_with("x.pt: "))
                    FAIL("error: " << error);
                content[i] = before;
            }
    }
}

TEST_CASE("a wrong byte whose checksum is right never does harm") {
    const std::string content = read_text(kFixtures / "stat.pt");
    int num_refused = 0;
    for (std::size_t i = 0; i < content.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            std::string changed = content;
            changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
            try {
                all_integers(parse_torch_file(bytes_of(changed), "x.pt", ZipChecksums::ignored));
            } catch (const Error&) {
                ++num_refused;
            }
        }
    CHECK(num_refused > 2000);
}

TEST_CASE("faults of an archive are told apart") {
    const std::string good = zip_of({{"a", "1234"}, {"b", "5"}});
    const std::vector<ZipEntry> entries = parse_zip(bytes_of(good), "x.pt");
    REQUIRE(entries.size() == 2);
    CHECK(entries[0].name == "a");
    CHECK(entries[0].data.size() == 4);
    CHECK(entries[1].name == "b");
    CHECK(parse_zip(bytes_of(zip_of({})), "x.pt").empty());

    CHECK_STARTS_WITH(error_of_zip(zip_of({{"a", "1"}, {"a", "1"}})),
                      "x.pt: entry \"a\" stands there twice");
    CHECK_STARTS_WITH(error_of_zip(replaced(good, "1234", "1235")),
                      "x.pt: entry \"a\" has another checksum than it should");
    CHECK_STARTS_WITH(error_of_zip(replaced(good, "a1234", "c1234")),
                      "x.pt: entry \"a\" has another name in its header");
    CHECK_STARTS_WITH(error_of_zip(replaced(good, "PK\x03\x04", "PK\x03\x05")),
                      "x.pt: entry \"a\" has no header");
    CHECK_STARTS_WITH(error_of_zip("x" + good), "x.pt: the zip directory");

    const std::size_t directory = good.find("PK\x01\x02");
    const auto with = [&](std::size_t offset, const std::string& bytes) {
        return std::string(good).replace(directory + offset, bytes.size(), bytes);
    };
    CHECK_STARTS_WITH(error_of_zip(with(8, number(1, 2))), "x.pt: entry \"a\" is encrypted");
    CHECK_STARTS_WITH(error_of_zip(with(10, number(8, 2))), "x.pt: entry \"a\" is compressed");
    CHECK_STARTS_WITH(error_of_zip(with(20, number(40, 4) + number(40, 4))),
                      "x.pt: entry \"a\" reaches into the zip directory");
    CHECK_STARTS_WITH(error_of_zip(with(20, number(4000, 4) + number(4000, 4))),
                      "x.pt: entry \"a\" reaches past the end");
    CHECK_STARTS_WITH(error_of_zip(with(42, number(4000, 4))),
                      "x.pt: entry \"a\" reaches past the end");
    CHECK_STARTS_WITH(error_of_zip(with(42, number(0xffffffff, 4))),
                      "x.pt: an entry lacks its zip64 size");
    CHECK_STARTS_WITH(error_of_zip(with(28, number(4000, 2))),
                      "x.pt: the zip directory ends within an entry");
    const std::size_t end = good.find("PK\x05\x06") - directory;
    CHECK_STARTS_WITH(error_of_zip(with(end + 10, number(1, 2))),
                      "x.pt: the zip directory has more entries than the archive says");
    CHECK_STARTS_WITH(error_of_zip(with(end + 10, number(3, 2))),
                      "x.pt: the zip directory has fewer entries than the archive says");
    CHECK_STARTS_WITH(error_of_zip(with(end + 10, number(0xffff, 2))),
                      "x.pt: has no zip64 directory");
    CHECK_STARTS_WITH(error_of_zip(with(end + 12, number(4000, 4))),
                      "x.pt: the zip directory reaches past the end");
}

TEST_CASE("entries that share their data are refused before they become endless work") {
    // fifty entries, each within the data of the one before
    const auto name_of = [](int i) { return static_cast<char>('A' + i); };
    const int num_entries = 50;
    const std::size_t header_size = 31;
    const std::string data(1000, 'x');
    std::string archive;
    std::string directory;
    for (int i = 0; i < num_entries; ++i) {
        const std::size_t size = header_size * static_cast<std::size_t>(num_entries - 1 - i) + 1000;
        directory += "PK\x01\x02" + number(0, 16) + number(size, 4) + number(size, 4) +
                     number(1, 2) + number(0, 12) + number(archive.size(), 4) + name_of(i);
        archive += "PK\x03\x04" + number(0, 22) + number(1, 2) + number(0, 2) + name_of(i);
    }
    archive += data;
    const std::string end = "PK\x05\x06" + number(0, 4) + number(num_entries, 2) +
                            number(num_entries, 2) + number(directory.size(), 4) +
                            number(archive.size(), 4) + number(0, 2);
    const std::string bomb = archive + directory + end;
    CHECK_STARTS_WITH(error_of([&] { parse_zip(bytes_of(bomb), "x.pt", ZipChecksums::ignored); }),
                      "x.pt: the entries of the zip directory overlap");
}

TEST_CASE("a pickle may call nothing but what stands for tensors") {
    CHECK_STARTS_WITH(error_of_pickle(pickle_of("cos\nsystem\n(" + pickled_text("true") + "tR")),
                      "x.pt: asks for \"os.system\", which no dump holds; nothing was executed");
    CHECK_STARTS_WITH(
        error_of_pickle("\x80\x04\x8c\x08"
                        "builtins\x8c\x04"
                        "eval\x93)R."),
        "x.pt: asks for \"builtins.eval\", which no dump holds; nothing was executed");
    CHECK_STARTS_WITH(error_of_pickle(pickle_of("ctorch\n\x1b[31mIntStorage\n")),
                      "x.pt: asks for \"torch.?[31mIntStorage\", which no dump holds");
    CHECK_STARTS_WITH(error_of_pickle(pickle_of("ctorch\nIntStorage\n)R")),
                      "x.pt: the pickle calls torch.IntStorage with 0 arguments");
    CHECK_STARTS_WITH(error_of_pickle(pickle_of("ccollections\nOrderedDict\nN\x85R")),
                      "x.pt: the pickle calls collections.OrderedDict with 1 arguments");
    CHECK_STARTS_WITH(error_of_pickle(pickle_of(pickled_text("os.system") + ")R")),
                      "x.pt: the pickle calls what cannot be called");
    // INST, OBJ, NEWOBJ, BUILD, EXT1 and PERSID make objects too
    for (const char opcode : {'i', 'o', '\x81', 'b', '\x82', 'P'}) {
        CAPTURE(opcode);
        CHECK_STARTS_WITH(error_of_pickle(pickle_of(std::string("NN") + opcode)),
                          "x.pt: the pickle's opcode ");
    }
}

TEST_CASE("faults of a pickle are told apart") {
    CHECK(error_of_pickle(pickle_of("N")).empty());
    const auto check = [](const std::string& pickle, const std::string& fault) {
        CHECK_STARTS_WITH(error_of_pickle(pickle), "x.pt: " + fault);
    };
    check("", "the pickle is cut off");
    check("N.", "the pickle does not start with a protocol");
    check("\x80\x01N.", "pickle protocol 1 is none of 2 to 5");
    check("\x80\x06N.", "pickle protocol 6 is none of 2 to 5");
    check("\x80\x02.", "the pickle does not end in one value");
    check("\x80\x02NN.", "the pickle does not end in one value");
    check("\x80\x02N(.", "the pickle does not end in one value");
    check("\x80\x02N.N", "the pickle goes on behind its end");
    check(pickle_of("t"), "the pickle lacks a mark");
    check(pickle_of("(\x85"), "the pickle takes a value from an empty stack");
    check(pickle_of("N(\x85"), "the pickle takes a value from an empty stack");
    check(pickle_of("a"), "the pickle takes a value from an empty stack");
    check(pickle_of("NNa"), "the pickle adds to what is no list or dict");
    check(pickle_of("](NNu"), "the pickle adds to what is no list or dict");
    check(pickle_of("}(Nu"), "the pickle adds to what is no list or dict");
    check(pickle_of("h\x07"), "the pickle recalls value 7, which it never kept");
    check(pickle_of("q\x07"), "the pickle takes a value from an empty stack");
    check(pickle_of(std::string("\x8a\x09") + std::string(9, 'x')),
          "the pickle has an integer of 9 bytes");
    check(pickle_of("NQ"), "the pickle has a persistent id that is no storage");
    check(pickle_of("NN\x93"), "the pickle asks for what is no name");
    check(pickle_of("X" + number(0xffffffff, 4)), "the pickle is cut off");
    check(pickle_of("\x8d" + number(UINT64_MAX, 8)), "the pickle is cut off");
    check(pickle_of("\x95" + number(UINT64_MAX, 8)), "the pickle is cut off");
    check(pickle_of("cos\nsystem"), "the pickle is cut off");
}

TEST_CASE("what is set again counts last") {
    const std::string pickle =
        pickle_of(pickled_dict({{"a", "K\x01"}, {"b", "K\x02"}, {"a", "K\x03"}}));
    const Pickle read = parse_pickle(bytes_of(pickle), "x.pt");
    REQUIRE(find_key(*read.root, "a") != nullptr);
    CHECK(find_key(*read.root, "a")->integer == 3);
    CHECK(find_key(*read.root, "b")->integer == 2);
}

TEST_CASE("deep, doubling and circular values are read in bounded memory") {
    // a million lists within one another: [[[…]]]
    std::string deep(1'000'000, ']');
    deep += std::string(999'999, 'a');
    CHECK(parse_pickle(bytes_of(pickle_of(deep)), "x.pt").values.size() == 1'000'000);

    // each tuple holds the one before twice: 2^200 values for who would copy them
    std::string doubling = "N";
    for (int i = 0; i < 200; ++i)
        doubling += "q\x01h\x01\x86";
    CHECK(parse_pickle(bytes_of(pickle_of(doubling)), "x.pt").values.size() == 201);

    // a list that holds itself
    const std::string circle = pickle_of(
        "]q\x01h\x01"
        "a");
    const Pickle read = parse_pickle(bytes_of(circle), "x.pt");
    REQUIRE(read.root->items.size() == 1);
    CHECK(read.root->items[0] == read.root);
}

TEST_CASE("faults of a tensor are told apart") {
    const std::string data(16, '\1');  // four of 0x01010101
    const auto error_for = [&](const std::string& tensor, const std::string& storage) {
        const std::string content = torch_file_of(pickle_of(tensor), {{"0", storage}});
        const TorchFile file = parse_torch_file(bytes_of(content), "x.pt");
        return error_of([&] { file.integers(file.tensor(file.root(), "t"), "t"); });
    };
    using Sizes = std::vector<std::int64_t>;
    const auto check = [&](std::int64_t offset, const Sizes& shape, const Sizes& strides,
                           const std::string& fault) {
        const std::string error =
            error_for(pickled_tensor("IntStorage", "0", 4, offset, shape, strides), data);
        CAPTURE(error, offset, shape, strides);
        CHECK((fault.empty() ? error.empty() : error.starts_with("x.pt: t: " + fault)));
    };
    const std::string outside = "does not fit into its storage of 4 elements";
    const std::string no_shape = "has a shape or strides that are none";
    check(0, {4}, {1}, "");
    check(0, {2, 2}, {2, 1}, "");
    check(0, {2, 2}, {1, 2}, "");
    check(3, {1}, {INT64_MAX}, "");  // a stride that is never used
    check(4, {0}, {1}, "");
    check(0, {INT64_MAX, 0}, {INT64_MAX, 1}, "");
    check(0, {5}, {1}, outside);
    check(1, {4}, {1}, outside);
    check(4, {}, {}, outside);
    check(3, {}, {}, "");
    check(0, {2}, {4}, outside);
    check(0, {5}, {0}, outside);
    check(0, {INT64_MAX}, {INT64_MAX}, outside);
    check(0, {INT64_MAX, INT64_MAX}, {0, 0}, outside);
    check(INT64_MAX, {2}, {INT64_MAX}, outside);
    check(-1, {1}, {1}, no_shape);
    check(0, {-1}, {1}, no_shape);
    check(3, {2}, {-1}, no_shape);
    check(0, {2, 2}, {1}, no_shape);

    const auto whole = [](const std::string& type, const std::string& key, std::int64_t size) {
        return pickled_tensor(type, key, size, 0, {1}, {1});
    };
    CHECK_STARTS_WITH(error_for(whole("IntStorage", "1", 4), data),
                      "x.pt: t: its storage \"1\" is missing");
    CHECK_STARTS_WITH(error_for(whole("IntStorage", "0", 5), data),
                      "x.pt: t: its storage \"0\" has 16 bytes, which are not 5 elements");
    CHECK_STARTS_WITH(error_for(whole("IntStorage", "0", 3), data.substr(1)),
                      "x.pt: t: its storage \"0\" has 15 bytes, which are not 3 elements");
    CHECK_STARTS_WITH(error_for("N", data), "x.pt: t: is no tensor");
    CHECK_STARTS_WITH(error_for("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR", data),
                      "x.pt: t: is a tensor without a storage");
}

}  // namespace eplb::test_torch_file
