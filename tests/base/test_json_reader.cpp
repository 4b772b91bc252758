#include "lib/base/json_reader.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_json_reader {

using eplb::test::error_of;

namespace {

using nlohmann::json;

json read_value(JsonReader& reader) {
    json value;
    std::string key;
    switch (reader.peek()) {
        case JsonReader::Kind::object:
            value = json::object();
            for (reader.open_object(); reader.next_member(key);) {
                const std::string name = key;
                value[name] = read_value(reader);
            }
            return value;
        case JsonReader::Kind::list:
            value = json::array();
            for (reader.open_list(); reader.next_item();)
                value.push_back(read_value(reader));
            return value;
        case JsonReader::Kind::string:
            return reader.string();
        case JsonReader::Kind::boolean:
            return reader.boolean();
        case JsonReader::Kind::number: {
            const JsonNumber number = reader.number();
            return number.is_integer && !number.is_large ? json(number.integer)
                                                         : json(number.real());
        }
        case JsonReader::Kind::null:
            reader.skip();
            break;
    }
    return nullptr;
}

// Nothing where the text is no JSON.
std::optional<json> read(const std::string& text) {
    const std::vector<char> copy(text.begin(), text.end());  // nothing stands behind it
    const std::string_view view(copy.data(), copy.size());
    try {
        JsonReader reader(view, "");
        json value = read_value(reader);
        reader.end();
        return value;
    } catch (const JsonSyntaxError&) {
        return std::nullopt;
    }
}

bool is_skipped(const std::string& text) {
    try {
        JsonReader reader(text, "");
        reader.skip();
        reader.end();
        return true;
    } catch (const JsonSyntaxError&) {
        return false;
    }
}

// The byte that an error about the text names.
std::size_t faulty_byte(const std::string& text) {
    try {
        JsonReader reader(text, "");
        reader.skip();
        reader.end();
    } catch (const JsonSyntaxError& error) {
        return error.byte();
    }
    return 0;
}

}  // namespace

TEST_CASE("what is JSON and what it says is as nlohmann's parser has it") {
    const std::vector<std::string> seeds = {
        R"({"a":[1,2.5e3,-0,"x\u00e9\ud83d\ude00"],"b":{"c":null,"d":[true,false,[]]},"é€😀":""})",
        "[[1,2],[3,4]]",
        R"("\n\t\"\/")",
        "-12.5E-3",
        " [ ] ",
        "{\"a\":{}}"};
    const std::string bytes =
        "{}[]\",:-+.0129eEtruefalsn\\u dD8C\n\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\xff /b";
    std::mt19937 random(1);  // NOLINT: the same texts in each run
    int num_read = 0;
    for (int i = 0; i < 20000; ++i) {
        std::string text = seeds[random() % seeds.size()];
        for (unsigned change = random() % 4; change > 0 && !text.empty(); --change) {
            const std::size_t at = random() % text.size();
            const char byte = bytes[random() % bytes.size()];
            if (random() % 3 == 0)
                text.erase(at, 1 + random() % 3);
            else if (random() % 2 == 0)
                text.insert(at, 1, byte);
            else
                text[at] = byte;
        }
        json expected;
        try {
            expected = json::parse(text);
        } catch (const json::out_of_range&) {
            continue;  // a number beyond doubles, which a reader may take
        } catch (const json::parse_error&) {
            expected = json::value_t::discarded;
        }
        const std::optional<json> found = read(text);
        num_read += found.has_value() ? 1 : 0;
        if (found.has_value() == expected.is_discarded() || is_skipped(text) != found.has_value() ||
            (found && *found != expected))
            FAIL(text);
    }
    CHECK(num_read > 4000);
}

TEST_CASE("an error names the first byte that cannot stand there") {
    CHECK(faulty_byte("[1]") == 0);
    CHECK(faulty_byte("") == 1);
    CHECK(faulty_byte("[1") == 3);
    CHECK(faulty_byte("[1 2]") == 4);
    CHECK(faulty_byte("[1]]") == 4);
    CHECK(faulty_byte("[01]") == 3);
    CHECK(faulty_byte("[1,]") == 4);
    CHECK(faulty_byte("[-Infinity]") == 3);
    CHECK(faulty_byte("{\"a\" 1}") == 6);
    CHECK(faulty_byte("[nul]") == 5);
    CHECK(faulty_byte("\"\xff\"") == 2);
    CHECK(faulty_byte("\"\xe2\x82\"") == 4);
    CHECK(faulty_byte("\"\n\"") == 2);
}

TEST_CASE("a value of another kind is refused by the key of its member") {
    const auto error = [](const std::string& value) {
        return error_of([&] {
            const std::string text = "{\"key\":" + value + "}";
            JsonReader reader(text, "x: ");
            std::string key;
            for (reader.open_object(); reader.next_member(key);)
                reader.integer();
        });
    };
    CHECK(error("-9223372036854775808").empty());
    CHECK(error("0").empty());
    CHECK(error("[]") == "x: \"key\" holds a list");
    CHECK(error("null") == "x: \"key\" holds null");
    CHECK(error("2.0") == "x: \"key\" holds a number that is no integer");
    CHECK(error("9223372036854775808") == "x: \"key\" holds a number that is too large");
}

TEST_CASE("a value that is nested without end is not skipped") {
    const std::string text = "{\"key\":" + std::string(100'000, '[');
    CHECK(error_of([&] {
              JsonReader reader(text, "x: ");
              std::string key;
              for (reader.open_object(); reader.next_member(key);)
                  reader.skip();
          }) == "x: key \"key\": is nested too deep");
}

}  // namespace eplb::test_json_reader
