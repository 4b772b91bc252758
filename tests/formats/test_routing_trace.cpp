#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_routing_trace {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::replaced;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

using Counts = std::vector<std::int64_t>;

const std::filesystem::path kFixtures = test::test_data() / "formats" / "counts";

const std::string kMeta = R"({"type":"meta","seed":0,"layers_logged":[7,3],"top_k":2})";

std::string route(const std::string& request, int token, int layer, const std::string& ids) {
    return "{\"type\":\"route\",\"req_id\":" + request + ",\"token_idx\":" + std::to_string(token) +
           ",\"layer\":" + std::to_string(layer) + ",\"topk_ids\":[" + ids + "]}";
}

std::string join(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines)
        text += line + "\n";
    return text;
}

// b's two tokens around a's one
const std::vector<std::string> kLines = {
    kMeta,
    route("\"b\"", 0, 3, "0,1"),
    route("\"b\"", 0, 7, "2,1"),
    route("\"a\"", 4, 7, "3,0"),
    route("\"b\"", 1, 3, "1,0"),
    route("\"a\"", 4, 3, "0,2"),
    route("\"b\"", 1, 7, "1,3"),
};
// [b, a][3, 7][4]
const Counts kCounts = {2, 2, 0, 0, 0, 2, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1};

CountTable parse(const std::string& text, int num_experts = 0) {
    return parse_routing_trace(text, "x.jsonl", num_experts);
}

std::string error_for(const std::string& text, int num_experts = 0) {
    return error_of([&] { parse(text, num_experts); });
}

}  // namespace

TEST_CASE("a trace is read as its routes were counted") {
    const std::string path = (kFixtures / "routing_trace.jsonl").string();
    for (const int num_experts : {0, 8}) {
        const CountTable table = read_routing_trace(path, num_experts);
        CHECK(table.layer_rows == LayerRows::by_id);
        CHECK(table.layers == std::vector{1, 2, 10});
        CHECK(table.num_layers() == 3);
        CHECK(table.num_iterations == 3);
        CHECK(table.num_experts == 8);
        CHECK(table.top_k == 2);
        CHECK(table.has_unknown_sources);
        CHECK(table.warnings.empty() == (num_experts == 8));
        Counts expected;  // by Python; tests/data/formats/make_count_fixtures.py
        for (const auto& layers : nlohmann::json::parse(read_text(kFixtures / "expected.json")))
            for (const auto& row : layers)
                for (const auto& count : row)
                    expected.push_back(count);
        CHECK(table.counts == expected);
        CHECK(parse(read_text(path), num_experts).counts == expected);
    }
}

TEST_CASE("requests are iterations in the order of their first lines, layers ascend") {
    const CountTable table = parse(join(kLines));
    CHECK(table.layers == std::vector{3, 7});
    CHECK(table.num_iterations == 2);
    CHECK(table.counts == kCounts);
    CHECK(table.warnings ==
          std::vector<std::string>{"num_experts is taken for 4, the highest id + 1; give "
                                   "it if the model has more"});
    const CountTable wide = parse(join(kLines), 6);
    CHECK(wide.num_experts == 6);
    CHECK(wide.warnings.empty());
    CHECK(wide.row(0, 1, 0)[3] == 1);
}

TEST_CASE("the lines of routes may come in any order") {
    std::vector<std::string> lines = kLines;
    // all orders that keep b's first line first
    std::sort(lines.begin() + 2, lines.end());
    do {
        CHECK(parse(join(lines)).counts == kCounts);
    } while (std::next_permutation(lines.begin() + 2, lines.end()));
}

TEST_CASE("any spelling that JSON allows is read from a trace") {
    const std::string text = join(
        {R"( { "top_k" : 1, "layers_logged" : [ 3 ], "model_id": null, "x": {"layers_logged": [[]]},)"
         R"( "type" : "meta" } )"
         "\r",
         R"({"topk_weights":[1.0],"topk_ids":[1],"layer":3,"token_idx":0,"req_id":"1","type":"route"})",
         R"({"type":"route","req_id":1,"token_idx":0,"layer":3,"topk_ids":[0],"topk_weights":[1]})"});
    CHECK(parse(text).counts == Counts{0, 1, 1, 0});
    CHECK(parse(text.substr(0, text.size() - 1)).counts == Counts{0, 1, 1, 0});
}

TEST_CASE("faults of a trace are refused with their line") {
    struct Case {
        std::size_t line;  // from 1
        std::string part;
        std::string by;
        std::string fault;
    };
    for (const Case& broken : std::vector<Case>{
             {1, "meta", "route", "a routing trace starts with a line of type meta"},
             {1, "\"type\"", "\"kind\"", "\"type\" is missing: this is no routing trace"},
             {1, "[7,3]", "[]", "\"layers_logged\" has 0 layers"},
             {1, "[7,3]", "[3,7,3]", "\"layers_logged\" has layer 3 twice"},
             {1, "[7,3]", "[7,-3]", "\"layers_logged\": -3 is no layer id"},
             {1, "[7,3]", "[7,2147483648]", "\"layers_logged\": 2147483648 is no layer id"},
             {1, "[7,3]", "[7,3.0]", "\"layers_logged\" holds a number that is no integer"},
             {1, "[7,3]", "[[7,3]]", "\"layers_logged\" holds a list"},
             {1, "[7,3]", "7", "\"layers_logged\" holds a number"},
             {1, "\"layers_logged\"", "\"layers\"", "\"layers_logged\" is missing"},
             {1, "\"top_k\"", "\"k\"", "\"top_k\" is missing"},
             {1, "\"top_k\":2", "\"top_k\":0", "\"top_k\" is 0, it must be in [1, 4096]"},
             {1, "\"top_k\":2", "\"top_k\":5000", "\"top_k\" is 5000, it must be in [1, 4096]"},
             {1, "\"top_k\":2", "\"top_k\":null", "\"top_k\" holds null"},
             {3, "route", "meta", "a second line of type meta; a file holds one trace"},
             {3, "route", "end", "unknown type \"end\""},
             {3, "route", "\\u001b[2J", "unknown type \"?[2J\""},
             {3, kLines[2], "{\"\\u001b\":" + std::string(200, '['),
              "key \"?\": is nested too deep"},
             {3, "\"route\"", "5", "\"type\" holds a number"},
             {3, "\"req_id\"", "\"id\"", "\"req_id\" is missing"},
             {3, "\"b\"", "1.5", "\"req_id\" holds a number that is no integer"},
             {3, "\"token_idx\"", "\"token\"", "\"token_idx\" is missing"},
             {3, "idx\":0", "idx\":-1", "\"token_idx\" is -1, it must be in [0, "},
             {3, "idx\":0", "idx\":9223372036854775807",
              "\"token_idx\" is 9223372036854775807, it"},
             {3, "idx\":0", "idx\":9223372036854775808",
              "\"token_idx\" holds a number that is too"},
             {3, "\"layer\"", "\"l\"", "\"layer\" is missing"},
             {3, "layer\":7", "layer\":4", "layer 4 is not in \"layers_logged\" of line 1"},
             {3, "layer\":7", "layer\":-1", "layer -1 is not in \"layers_logged\" of line 1"},
             {3, "layer\":7", "layer\":7,\"layer\":7", "\"layer\" stands there twice"},
             {3, "layer\":7", "layer\":3", "request \"b\", token 0, layer 3 stands there twice"},
             {5, "idx\":1", "idx\":0", "request \"b\", token 0, layer 3 stands there twice"},
             {3, "\"topk_ids\"", "\"ids\"", "\"topk_ids\" is missing"},
             {3, "[2,1]", "[2]", "\"topk_ids\" has 1 ids where \"top_k\" of line 1 is 2"},
             {3, "[2,1]", "[2,1,0]", "\"topk_ids\" has 3 ids where \"top_k\" of line 1 is 2"},
             {3, "[2,1]", "[2,2]", "\"topk_ids\" has expert 2 twice"},
             {3, "[2,1]", "[2,-1]", "expert id -1 is negative"},
             {3, "[2,1]", "[2,4096]", "expert id 4096 is absurd; give num_experts"},
             {3, "[2,1]", "[2,\"1\"]", "\"topk_ids\" holds a string"},
             {3, "[2,1]", "[2,1],\"topk_weights\":[1]", "\"topk_weights\" has 1 weights for 2 ids"},
             {3, "[2,1]", "{}", "\"topk_ids\" holds an object"},
             {3, "[2,1]", "[2,1", "is no valid JSON at byte "},
             {3, "[2,1]", "[2,NaN]", "is no valid JSON at byte "},
             {3, kLines[2], "", "is blank"},
             {3, kLines[2], "[]", "is no JSON object"},
             {3, kLines[2], "5", "is no JSON object"},
             {3, kLines[2], "\"x\"", "is no JSON object"},
             {3, kLines[2], "{\"x\":" + std::string(100'000, '['), "key \"x\": is nested too deep"},
         }) {
        CAPTURE(broken.by.substr(0, 100));
        std::vector<std::string> lines = kLines;
        lines[broken.line - 1] = replaced(lines[broken.line - 1], broken.part, broken.by);
        CHECK_STARTS_WITH(error_for(join(lines)),
                          "x.jsonl: line " + std::to_string(broken.line) + ": " + broken.fault);
    }
    CHECK_STARTS_WITH(error_for(join(kLines), 3),
                      "x.jsonl: line 4: expert id 3 is outside [0, 3): give the model's");
    CHECK_STARTS_WITH(error_for(""), "x.jsonl: is empty; a routing trace starts with");
    CHECK_STARTS_WITH(error_for(kMeta + "\n"), "x.jsonl: holds no routes: nothing was recorded");
}

TEST_CASE("a token must have all layers that are logged") {
    for (std::size_t left_out = 1; left_out < kLines.size(); ++left_out) {
        CAPTURE(left_out);
        std::vector<std::string> lines = kLines;
        lines.erase(lines.begin() + left_out);
        CHECK_STARTS_WITH(error_for(join(lines)), "x.jsonl: request ");
    }
    std::vector<std::string> lines = kLines;
    lines.erase(lines.begin() + 3);
    CHECK(
        error_for(join(lines)) ==
        "x.jsonl: request \"a\", token 4: has no line for layer 7: the trace was cut off; copy it "
        "again, or record again");
    const std::string moves_cursor = join({kMeta, route("\"\\u001b[2J\"", 0, 3, "0,1")});
    CHECK_STARTS_WITH(error_for(moves_cursor), "x.jsonl: request \"?[2J\", token 0: has no line");
    CHECK_STARTS_WITH(error_for(moves_cursor + route("\"\\u001b[2J\"", 0, 3, "0,1")),
                      "x.jsonl: line 3: request \"?[2J\", token 0, layer 3 stands there twice");
}

TEST_CASE("tokens that stand there twice are found in any order of tokens") {
    // each order of four tokens, then one of them again
    std::vector<int> tokens = {0, 1, 2, 3};
    do {
        std::vector<std::string> lines = {R"({"type":"meta","layers_logged":[3],"top_k":1})"};
        for (const int token : tokens)
            lines.push_back(route("1", 2 * token - token / 2, 3, "0"));  // 0, 2, 3, 5
        CHECK(parse(join(lines)).counts == Counts{4});
        for (const int token : {0, 2, 3, 5}) {
            std::vector<std::string> twice = lines;
            twice.push_back(route("1", token, 3, "0"));
            CHECK(error_for(join(twice)) == "x.jsonl: line 6: request 1, token " +
                                                std::to_string(token) +
                                                ", layer 3 stands there twice");
        }
        for (const int token : {1, 4, 6}) {
            std::vector<std::string> more = lines;
            more.push_back(route("1", token, 3, "0"));
            CHECK(error_for(join(more)) == "");
        }
    } while (std::next_permutation(tokens.begin(), tokens.end()));
}

TEST_CASE("a trace that is cut off is an error or has fewer tokens") {
    const std::string text = join(kLines);
    std::vector<std::size_t> ends;  // of lines, without the newline
    for (std::size_t end = text.find('\n'); end != std::string::npos;
         end = text.find('\n', end + 1))
        ends.push_back(end);
    for (std::size_t size = 0; size < text.size(); ++size) {
        CAPTURE(size);
        CountTable table;
        const std::string error = error_of([&] { table = parse(text.substr(0, size)); });
        if (size >= ends[6]) {
            CHECK(table.counts == kCounts);
        } else if (size == ends[2] || size == ends[2] + 1) {
            CHECK(table.counts == Counts{1, 1, 0, 0, 1, 1});  // b's first token
        } else {
            CHECK_STARTS_WITH(error, "x.jsonl: ");
            const bool is_at_line_end = size == 0 ||
                                        std::find(ends.begin(), ends.end(), size) != ends.end() ||
                                        text[size - 1] == '\n';
            CHECK((error.find("ends in the middle: the trace was cut off") != std::string::npos) ==
                  !is_at_line_end);
        }
    }
}

TEST_CASE("a flipped bit in a trace gives an error or other counts") {
    const std::string text = join(kLines);
    for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
        std::string flipped = text;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_for(flipped);
        CHECK((error.empty() || error.starts_with("x.jsonl: ")));
    }
}

TEST_CASE("a trace that is absent is named") {
    CHECK_STARTS_WITH(error_of([] { read_routing_trace("absent.jsonl", 0); }),
                      "absent.jsonl: cannot open");
}

}  // namespace eplb::test_routing_trace
