#include "lib/formats/statistics/trace_line.h"

#include "lib/base/json_reader.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

std::vector<std::int64_t> read_integers(JsonReader& json) {
    std::vector<std::int64_t> numbers;
    for (json.open_list(); json.next_item();)
        numbers.push_back(json.integer());
    return numbers;
}

std::size_t count_numbers(JsonReader& json) {
    std::size_t count = 0;
    for (json.open_list(); json.next_item(); ++count)
        json.number();
    return count;
}

// A string in its quotes, or an integer.
std::string request_id(JsonReader& json) {
    return json.peek() == JsonReader::Kind::string ? '"' + json.string() + '"'
                                                   : std::to_string(json.integer());
}

}  // namespace

TraceLine parse_trace_line(std::string_view text, const std::string& where) {
    JsonReader json(text, where);
    if (json.peek() != JsonReader::Kind::object)
        json.fail("is no JSON object");
    TraceLine line;
    std::string key;
    const auto set = [&](auto& member, auto value) {
        if (member)
            json.fail('"' + key + "\" stands there twice");
        member = std::move(value);
    };
    for (json.open_object(); json.next_member(key);) {
        if (key == "type")
            set(line.type, json.string());
        else if (key == "req_id")
            set(line.req_id, request_id(json));
        else if (key == "token_idx")
            set(line.token_idx, json.integer());
        else if (key == "layer")
            set(line.layer, json.integer());
        else if (key == "top_k")
            set(line.top_k, json.integer());
        else if (key == "layers_logged")
            set(line.layers_logged, read_integers(json));
        else if (key == "topk_ids")
            set(line.topk_ids, read_integers(json));
        else if (key == "topk_weights")
            set(line.num_topk_weights, count_numbers(json));
        else
            json.skip();
    }
    json.end();
    return line;
}

}  // namespace eplb
