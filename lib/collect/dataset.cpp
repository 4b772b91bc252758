#include "lib/collect/dataset.h"

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace eplb {
namespace {

std::vector<std::int32_t> parse_ids(const nlohmann::json& values,
                                    const std::string& where,
                                    const std::string& key,
                                    int vocab_size) {
    if (!values.is_array())
        throw Error(where + "\"" + key + "\" is no list");
    std::vector<std::int32_t> token_ids;
    token_ids.reserve(values.size());
    for (const nlohmann::json& value : values) {
        if (!value.is_number_integer())
            throw Error(where + "\"" + key + "\" holds a " + value.type_name() +
                        ", not a token id");
        // above what a signed integer holds, get() would wrap around
        if (value.is_number_unsigned()
                ? value.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size)
                : value.get<std::int64_t>() < 0)
            throw Error(where + "token id " + value.dump() +
                        " is outside the model's vocabulary, [0, " + std::to_string(vocab_size) +
                        ")");
        token_ids.push_back(value.get<std::int32_t>());
    }
    return token_ids;
}

Request parse_request(std::string_view line, const std::string& where, int vocab_size) {
    const nlohmann::json request = nlohmann::json::parse(line, nullptr, false);
    if (request.is_discarded())
        throw Error(where + "is not JSON; a dataset holds one JSON object per line");
    if (!request.is_object())
        throw Error(where + "is no JSON object");
    if (request.contains("samples") && request.contains("metadata"))
        throw Error(where +
                    "is a dataset in one document; write it again with "
                    "prepare_dataset.py --stdout, which gives one request per line");
    const char* const key = request.contains("input_ids") ? "input_ids" : "logits";
    if (!request.contains(key) && request.contains("prompt"))
        throw Error(where +
                    "holds text in \"prompt\" but no \"input_ids\"; turn it into token ids "
                    "with scripts/tokenize_dataset.py MODEL_DIR prompts.jsonl > dataset.json");
    if (!request.contains(key) || !request[key].is_array())
        throw Error(where + "has no list \"input_ids\"");
    Request parsed;
    parsed.input_ids = parse_ids(request[key], where, key, vocab_size);
    if (const auto output = request.find("output_ids");
        output != request.end() && !output->is_null())
        parsed.output_ids = parse_ids(*output, where, "output_ids", vocab_size);
    return parsed;
}

}  // namespace

std::vector<Request> read_dataset(const std::string& path, int vocab_size) {
    LineReader reader(path);
    std::vector<Request> requests;
    while (const std::optional<std::string_view> line = reader.next()) {
        if (line->find_first_not_of(" \t\r") == std::string_view::npos)
            continue;
        const std::string where =
            reader.name() + ": line " + std::to_string(reader.line_number()) + ": ";
        requests.push_back(parse_request(*line, where, vocab_size));
    }
    if (requests.empty())
        throw Error(reader.name() + ": holds no request");
    return requests;
}

}  // namespace eplb
