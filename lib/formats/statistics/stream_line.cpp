#include "lib/formats/statistics/stream_line.h"

#include "lib/base/json_reader.h"

namespace eplb {
namespace {

// A list of integers, or a table: a list of such lists.
void read_numbers(JsonReader& json, StreamValue& value) {
    value.kind = StreamValue::Kind::list;
    for (json.open_list(); json.next_item();) {
        if (json.peek() != JsonReader::Kind::list) {
            const std::int64_t number = json.integer();
            if (value.kind == StreamValue::Kind::table)
                json.refuse("an integer in a list of lists");
            value.numbers.push_back(number);
            continue;
        }
        if (!value.numbers.empty() && value.row_ends.empty())
            json.refuse("a list in a list of integers");
        value.kind = StreamValue::Kind::table;
        for (json.open_list(); json.next_item();)
            value.numbers.push_back(json.integer());
        value.row_ends.push_back(value.numbers.size());
    }
}

void read_stream_value(JsonReader& json, StreamValue& value) {
    switch (json.peek()) {
        case JsonReader::Kind::list:
            read_numbers(json, value);
            break;
        case JsonReader::Kind::number:
            value.kind = StreamValue::Kind::integer;
            value.integer = json.integer();
            break;
        case JsonReader::Kind::string:
            value.kind = StreamValue::Kind::text;
            value.text = json.string();
            break;
        case JsonReader::Kind::boolean:
            value.kind = StreamValue::Kind::boolean;
            value.boolean = json.boolean();
            break;
        default:
            json.refuse();
    }
}

}  // namespace

void StreamLine::parse(std::string_view text) {
    JsonReader json(text, where_);
    if (json.peek() != JsonReader::Kind::object)
        fail("must be an object");
    std::string key;
    for (json.open_object(); json.next_member(key);)
        read_stream_value(json, add(key));
    json.end();
}

}  // namespace eplb
