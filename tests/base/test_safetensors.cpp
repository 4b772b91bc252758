#include <cstring>
#include <stdexcept>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_safetensors {

using eplb::test::error_of;

namespace {

std::string file_of(const std::string& header, std::size_t data_size = 0) {
    std::string file(8, '\0');
    for (std::size_t i = 0; i < 8; ++i)
        file[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
    return file + header + std::string(data_size, '\1');
}

SafetensorsHeader parse(const std::string& file) {
    return parse_safetensors(std::as_bytes(std::span(file)), "some.safetensors");
}

std::string error_for(const std::string& file) {
    return error_of([&] { parse(file); });
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::filesystem::path fixture(const std::string& name) {
    return test::test_data() / "formats" / name;
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
}

std::string written(const test::TemporaryFolder& folder, std::vector<TensorToWrite> tensors) {
    const std::string path = (folder / "written.safetensors").string();
    OutputFile output(path);
    write_safetensors(output, std::move(tensors));
    output.commit();
    return test::read_text(path);
}

}  // namespace

TEST_CASE("a header's tensors come in the order of their data and are found by name") {
    const SafetensorsHeader header = parse(file_of(
        R"({"b":)" + tensor("I32", "[2,3]", "[8,32]") + R"(,"a":)" + tensor("F64", "[]", "[0,8]") +
            R"(,"c":)" + tensor("U8", "[0]", "[32,32]") + "}   ",
        32));
    REQUIRE(header.tensors.size() == 3);
    CHECK(header.tensors[0].name == "a");
    CHECK(header.tensors[1].name == "b");
    CHECK(header.tensors[1].shape == std::vector<std::int64_t>{2, 3});
    CHECK(header.tensors[1].dtype == "I32");
    CHECK(header.tensors[1].begin == 8);
    CHECK(header.tensors[1].end == 32);
    REQUIRE(header.find("a") != nullptr);
    CHECK(header.find("a")->shape.empty());
    CHECK(header.find("c") == &header.tensors[2]);
    CHECK(header.find("d") == nullptr);
    CHECK(header.find("") == nullptr);
    CHECK(header.file_size == header.data_begin + 32);
}

TEST_CASE("names may hold escapes and UTF-8, and spaces stand anywhere") {
    const SafetensorsHeader header = parse(
        file_of("{ \"\\u00e9\\\"\\\\\u00e9\" :\t{\"shape\" : [ 2 , 1 ], \"data_offsets\":[0,8] ,"
                "\"dtype\":\"I32\" } }\r\n",
                8));
    CHECK(header.tensors[0].name == "\u00e9\"\\\u00e9");
    CHECK(header.tensors[0].shape == std::vector<std::int64_t>{2, 1});
}

TEST_CASE("each broken header is refused with the file, the key and the fault") {
    struct Case {
        std::string header;
        std::size_t data_size;
        std::string fault;
    };
    const std::string good = tensor("I32", "[2]", "[0,8]");
    const std::vector<Case> cases = {
        {"[]", 0, "does not start with '{'"},
        {" {}", 0, "does not start with '{'"},
        {"{", 0, "no valid JSON at its byte"},
        {"{}{}", 0, "no valid JSON at its byte"},
        {"{\"\xff\":" + good + "}", 8, "no valid JSON at its byte"},
        {R"({"k":)" + good + R"(,"k":)" + good + "}", 8, R"(key "k": stands there twice)"},
        {R"({"k":5})", 0, R"(key "k": a number where an object is needed)"},
        {R"({"k":[]})", 0, R"(key "k": a list where an object is needed)"},
        {R"({"k":null})", 0, R"(key "k": null where an object is needed)"},
        {R"({"k":{}})", 0, R"(key "k": "dtype", "shape" and "data_offsets" are needed)"},
        {R"({"k":{"dtype":"I32","shape":[2]}})", 8, R"(key "k": "dtype", "shape" and)"},
        {R"({"k":{"shape":[2],"data_offsets":[0,8]}})", 8, R"(key "k": "dtype", "shape" and)"},
        {R"({"k":{"dtype":"I32","data_offsets":[0,8]}})", 8, R"(key "k": "dtype", "shape" and)"},
        {R"({"k":{"dtype":"I32","dtype":"I32","shape":[2],"data_offsets":[0,8]}})", 8,
         R"(key "k": "dtype" stands there twice)"},
        {R"({"k":{"dtype":"I32","shape":[2],"data_offsets":[0,8],"x":1}})", 8,
         R"(key "k": unknown member "x")"},
        {R"({"k":)" + tensor("I7", "[2]", "[0,8]") + "}", 8, R"(key "k": unknown dtype "I7")"},
        {R"({"k":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})", 8, "the name of a dtype"},
        {R"({"k":)" + tensor("I32", "2", "[0,8]") + "}", 8, "a list of non-negative integers"},
        {R"({"k":)" + tensor("I32", "[[2]]", "[0,8]") + "}", 8, "a list of non-negative integers"},
        {R"({"k":)" + tensor("I32", "[-2]", "[0,8]") + "}", 8, "a negative number"},
        {R"({"k":)" + tensor("I32", "[2.0]", "[0,8]") + "}", 8, "no integer"},
        {R"({"k":)" + tensor("I32", "[\"2\"]", "[0,8]") + "}", 8, "a string where"},
        {R"({"k":)" + tensor("I32", "[true]", "[0,8]") + "}", 8, "a boolean where"},
        {R"({"k":)" + tensor("I32", "[18446744073709551615]", "[0,8]") + "}", 8, "too large"},
        {R"({"k":)" + tensor("I32", "[4294967296,4294967296,4]", "[0,8]") + "}", 8, "too large"},
        {R"({"k":)" + tensor("I32", "[4611686018427387906]", "[0,8]") + "}", 8, "too large"},
        {R"({"k":)" + tensor("I32", "[2]", "[0]") + "}", 8, "must be [begin, end]"},
        {R"({"k":)" + tensor("I32", "[2]", "[0,8,8]") + "}", 8, "must be [begin, end]"},
        {R"({"k":)" + tensor("I32", "[2]", "[8,0]") + "}", 8, "end before they begin"},
        {R"({"k":)" + tensor("I32", "[3]", "[0,8]") + "}", 8, "ask for 12 bytes"},
        {R"({"k":)" + tensor("F4", "[3]", "[0,1]") + "}", 1, "no whole number of bytes"},
        {R"({"k":)" + tensor("I32", "[2]", "[4,12]") + "}", 12, R"(key "k": a hole in the data)"},
        {R"({"j":)" + good + R"(,"k":)" + tensor("I32", "[2]", "[4,12]") + "}", 12,
         R"(key "k": its data overlap)"},
        {R"({"k":)" + good + "}", 7,
         R"(key "k": its data end at byte 8 of 7: the file is cut off)"},
        {R"({"k":)" + good + "}", 9, "1 bytes after the last tensor"},
        {R"({"k":)" + good + ",}", 8, "no valid JSON at its byte"},
        {R"({,"k":)" + good + "}", 8, "no valid JSON at its byte"},
        {R"({"k" )" + good + "}", 8, "no valid JSON at its byte"},
        {R"({"k\x":)" + good + "}", 8, "no valid JSON at its byte"},
        {"{\"k\n\":" + good + "}", 8, "no valid JSON at its byte"},
        {R"({"k":)" + tensor("I32", "[2 3]", "[0,8]") + "}", 8, "no valid JSON at its byte"},
        {R"({"k":)" + tensor("I32", "[2,]", "[0,8]") + "}", 8, "no valid JSON at its byte"},
        {R"({"k":)" + tensor("I32", "[02]", "[0,8]") + "}", 8, "no valid JSON at its byte"},
        {R"({"k":)" + tensor("I32", "[tru]", "[0,8]") + "}", 8, "a boolean where a list"},
        {R"({"k":)" + tensor("I32", "[2e0]", "[0,8]") + "}", 8, "no integer"},
        {R"({"__metadata__":5})", 0, R"(key "__metadata__": a number where an object)"},
        {R"({"__metadata__":{"a":5}})", 0, R"(key "__metadata__": a number where a string)"},
        {R"({"__metadata__":{"a":{}}})", 0, R"(key "__metadata__": an object where a string)"},
        {R"({"__metadata__":{"a":"","a":""}})", 0, R"("a" stands there twice)"},
        {R"({"__metadata__":{},"__metadata__":{}})", 0, "stands there twice"},
    };
    for (const Case& broken : cases) {
        INFO(broken.header);
        const std::string error = error_for(file_of(broken.header, broken.data_size));
        CAPTURE(error);
        CHECK(error.starts_with("some.safetensors: "));
        CHECK(contains(error, broken.fault));
    }
}

TEST_CASE("a header larger than the format allows or than the file is refused") {
    CHECK(contains(error_for(""), "too few"));
    CHECK(contains(error_for("1234567"), "too few"));
    CHECK(contains(error_for(std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10)),
                   "100000001 bytes, at most 100000000 are allowed"));
    CHECK(contains(error_for(std::string(8, '\xff') + "{}"), "at most 100000000"));
    CHECK(contains(error_for(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "cut off; copy it again"));
    CHECK(contains(error_for(std::string(8, '\0')), "does not start with '{'"));
}

TEST_CASE("deeply nested headers are refused without recursion") {
    CHECK_FALSE(error_for(file_of("{\"k\":" + std::string(1'000'000, '['))).empty());
    CHECK_FALSE(error_for(file_of("{\"k\":" + std::string(1'000'000, '{'))).empty());
}

TEST_CASE("files of the reference writer are read") {
    const SafetensorsFile file(fixture("dtypes.safetensors"));
    CHECK(file.header().tensors.size() == 15);
    for (const Tensor& tensor : file.header().tensors) {
        if (!tensor.name.starts_with("of "))
            continue;
        CHECK(tensor.name == "of " + tensor.dtype);
        CHECK(file.bytes(tensor).size() == 3 * dtype_size(tensor.dtype));
    }
    const Tensor* const scalar = file.header().find("scalar");
    REQUIRE(scalar != nullptr);
    CHECK(scalar->shape.empty());
    std::int64_t value = 0;
    REQUIRE(file.bytes(*scalar).size() == sizeof value);
    std::memcpy(&value, file.bytes(*scalar).data(), sizeof value);
    CHECK(value == 7);
    CHECK(SafetensorsFile(fixture("metadata.safetensors")).header().tensors.size() == 1);
    CHECK(SafetensorsFile(fixture("no_tensors.safetensors")).header().tensors.empty());
}

TEST_CASE("what is written equals the reference writer's file byte by byte") {
    const test::TemporaryFolder folder;
    const SafetensorsFile reference(fixture("dtypes.safetensors"));
    std::vector<TensorToWrite> tensors;
    for (const std::size_t i : reference.header().by_name) {  // not the order of the file
        const Tensor& tensor = reference.header().tensors[i];
        tensors.push_back({tensor.name, tensor.dtype, tensor.shape, reference.bytes(tensor)});
    }
    CHECK(written(folder, tensors) == test::read_text(fixture("dtypes.safetensors")));
    CHECK(written(folder, {}) == test::read_text(fixture("no_tensors.safetensors")));
}

TEST_CASE("large tensors are written whole") {
    const test::TemporaryFolder folder;
    const std::vector<std::uint8_t> large(3'000'000, 5);
    const std::vector<std::uint8_t> small(3, 6);
    const std::string text =
        written(folder, {{"b", "U8", {3'000'000}, std::as_bytes(std::span(large))},
                         {"c", "U8", {3}, std::as_bytes(std::span(small))},
                         {"a", "U8", {3}, std::as_bytes(std::span(small))}});
    const SafetensorsHeader header = parse(text);
    REQUIRE(header.tensors.size() == 3);
    CHECK(text.substr(header.data_begin) == "\6\6\6" + std::string(3'000'000, '\5') + "\6\6\6");
}

TEST_CASE("our own mistakes in writing are no user errors") {
    const test::TemporaryFolder folder;
    const std::vector<std::byte> bytes(8);
    CHECK_THROWS_AS(written(folder, {{"a", "I64", {2}, bytes}}), std::logic_error);
    CHECK_THROWS_AS(written(folder, {{"a", "I65", {1}, bytes}}), std::logic_error);
    CHECK_THROWS_AS(written(folder, {{"a", "I64", {1}, bytes}, {"a", "I32", {2}, bytes}}),
                    std::logic_error);
    CHECK_FALSE(std::filesystem::exists(folder / "written.safetensors"));
}

TEST_CASE("a file cut off at any byte is refused") {
    for (const char* const name : {"dtypes.safetensors", "no_tensors.safetensors"}) {
        const std::string whole = test::read_text(fixture(name));
        REQUIRE(error_for(whole).empty());
        for (std::size_t size = 0; size < whole.size(); ++size) {
            CAPTURE(size);
            CHECK_FALSE(error_for(whole.substr(0, size)).empty());
        }
        CHECK_FALSE(error_for(whole + '\0').empty());
    }
}

TEST_CASE("a flipped bit in the header gives an error or another valid header") {
    const std::string whole = test::read_text(fixture("dtypes.safetensors"));
    const std::size_t header_size = parse(whole).data_begin;
    for (std::size_t bit = 0; bit < 8 * header_size; ++bit) {
        std::string flipped = whole;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_of([&] {
            for (const Tensor& tensor : parse(flipped).tensors)
                REQUIRE(tensor.end <= flipped.size());
        });
        CHECK((error.empty() || error.starts_with("some.safetensors: ")));
    }
}

TEST_CASE("files with the same header share what was parsed") {
    const test::TemporaryFolder folder;
    const std::string header = R"({"k":)" + tensor("U8", "[2]", "[0,2]") + "}";
    test::write_text(folder / "a", file_of(header) + "ab");
    test::write_text(folder / "b", file_of(header) + "cd");
    test::write_text(folder / "c", file_of(header + " ") + "ef");
    const SafetensorsReader a(folder / "a");
    const SafetensorsReader b(folder / "b", &a);
    const SafetensorsReader c(folder / "c", &a);
    CHECK(b.shares_header_with(a));
    CHECK_FALSE(c.shares_header_with(a));
    std::vector<std::byte> data(2);
    b.read(0, data);
    CHECK(data == std::vector{std::byte{'c'}, std::byte{'d'}});
    c.read(1, std::span(data).first(1));
    CHECK(data[0] == std::byte{'f'});
}

TEST_CASE("a file that shrinks while it is read is an error and no crash") {
    const test::TemporaryFolder folder;
    test::write_text(folder / "a", file_of(R"({"k":)" + tensor("U8", "[2]", "[0,2]") + "}", 2));
    const SafetensorsReader reader(folder / "a");
    std::filesystem::resize_file(folder / "a", 20);
    std::vector<std::byte> data(2);
    const std::string error = error_of([&] { reader.read(0, data); });
    CHECK(contains(error, (folder / "a").string()));
    CHECK(contains(error, "cut off while it was read"));
}

TEST_CASE("dtypes have the sizes that the format gives them") {
    CHECK(dtype_size("BOOL") == 1);
    CHECK(dtype_size("F8_E4M3") == 1);
    CHECK(dtype_size("BF16") == 2);
    CHECK(dtype_size("I32") == 4);
    CHECK(dtype_size("C64") == 8);
    CHECK(dtype_size("F4") == 0);
    CHECK(dtype_size("I128") == 0);
}

}  // namespace eplb::test_safetensors
