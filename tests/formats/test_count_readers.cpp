#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_count_readers {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::replaced;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

using Counts = std::vector<std::int64_t>;
using Parse = CountTable (*)(std::string_view, const std::string&);

// one set of routes in each format; tests/data/formats/make_count_fixtures.py
const std::filesystem::path kFixtures = test::test_data() / "formats" / "counts";

std::string fixture(const std::string& name) {
    return read_text(kFixtures / name);
}

// as Python counted them, [3 requests][3 layers][8 experts]
Counts expected_counts() {
    Counts counts;
    for (const auto& layers : nlohmann::json::parse(fixture("expected.json")))
        for (const auto& row : layers)
            for (const auto& count : row)
                counts.push_back(count);
    REQUIRE(counts.size() == 3 * 3 * 8);
    return counts;
}

// [3 layers][8 experts]
Counts expected_sums() {
    Counts sums(3 * 8);
    const Counts counts = expected_counts();
    for (std::size_t i = 0; i < counts.size(); ++i)
        sums[i % sums.size()] += counts[i];
    return sums;
}

std::string error_for(Parse parse, const std::string& text) {
    return error_of([&] { parse(text, "x.json"); });
}

void check_size(const CountTable& table, int num_iterations, int num_rows, int num_experts) {
    CHECK(table.num_iterations == num_iterations);
    CHECK(table.num_layers() == num_rows);
    CHECK(table.num_sources == 1);
    CHECK(table.num_experts == num_experts);
    CHECK(table.counts.size() == static_cast<std::size_t>(num_iterations) *
                                     static_cast<std::size_t>(num_rows) *
                                     static_cast<std::size_t>(num_experts));
    CHECK(table.has_unknown_sources);
    CHECK(table.ids == IdKind::expert);
    CHECK(table.iter_start == 0);
}

// Every shorter text is refused: JSON ends with its last bracket.
void check_truncations(Parse parse, const std::string& text) {
    REQUIRE(text.back() == '}');
    for (std::size_t size = 1; size < text.size(); ++size) {
        CAPTURE(size);
        CHECK(error_for(parse, text.substr(0, size)) ==
              "x.json: ends early, at byte " + std::to_string(size) + ": copy it again");
    }
}

void check_flipped_bits(Parse parse, const std::string& text) {
    for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
        std::string flipped = text;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_for(parse, flipped);
        CHECK((error.empty() || error.starts_with("x.json: ")));
    }
}

const std::string kSglang =
    R"({"rank": 0, "logical_count": [[[1, 2], [3.0, 4]], [[5, 6], [7, 8]]]})";
const std::string kSummed =
    R"({"counts": [[1, 2], [3.0, 4]], "num_layers": 2, "num_experts": 2, "src": "a.pt"})";
const std::string kHistory =
    R"({"load_history": [{"step": 1, "logical_expert_load": [[1, 2], [3, 4]]},)"
    R"( {"logical_expert_load": [[5, 6], [7, 8]], "x": {"a": [1]}}], "window": 9})";

}  // namespace

TEST_CASE("SGLang's steps are iterations, all but those without tokens") {
    const CountTable table = parse_sglang_json(fixture("sglang_steps.json"), "x.json");
    CHECK(table.layer_rows == LayerRows::decoder_layers);
    check_size(table, 3, 4, 8);
    const Counts expected = expected_counts();
    for (int iteration = 0; iteration < 3; ++iteration)
        for (int row = 0; row < 4; ++row) {
            const auto counts = table.row(iteration, row, 0);
            const auto begin = expected.begin() + (iteration * 3 + row - 1) * 8;
            CHECK(Counts(counts.begin(), counts.end()) ==
                  (row == 0 ? Counts(8) : Counts(begin, begin + 8)));
        }
    CHECK(table.warnings ==
          std::vector<std::string>{"2 of 5 steps hold no tokens: unused places of the recorder's "
                                   "buffer, left out"});
    const ExpertStatistics statistics = number_layers(table, {1, {}}, "x.json");
    CHECK(statistics.layers == std::vector{1, 2, 3});
    CHECK(statistics.counts == expected);
}

TEST_CASE("any places of SGLang's buffer may be unused") {
    for (unsigned used = 0; used < 16; ++used) {
        std::string steps;
        Counts expected;
        for (unsigned step = 0; step < 4; ++step) {
            const bool is_used = (used >> step & 1) != 0;
            steps += (step == 0 ? "" : ",") + std::string(is_used ? "[[0,1],[2," : "[[0,0],[0,") +
                     (is_used ? std::to_string(step) : "0") + "]]";
            if (is_used)
                expected.insert(expected.end(), {0, 1, 2, step});
        }
        const std::string text = "{\"logical_count\":[" + steps + "]}";
        CAPTURE(text);
        if (used == 0) {
            CHECK(error_for(parse_sglang_json, text) ==
                  "x.json: \"logical_count\": none of its 4 steps holds tokens: nothing was "
                  "recorded; record again");
            continue;
        }
        const CountTable table = parse_sglang_json(text, "x.json");
        CHECK(table.counts == expected);
        CHECK(table.num_iterations == static_cast<int>(expected.size() / 4));
        CHECK(table.warnings.empty() == (used == 15));
    }
}

TEST_CASE("SGLang's sums are one iteration") {
    const CountTable table = parse_sglang_json(fixture("sglang_sum.json"), "x.json");
    check_size(table, 1, 4, 8);
    CHECK(table.warnings.empty());
    CHECK(number_layers(table, {1, {}}, "x.json").counts == expected_sums());
}

TEST_CASE("the published statistics are read") {
    const std::filesystem::path folder = test::real_data();
    if (folder.empty()) {
        WARN("skipped: the real data are not there");
        return;
    }
    // with Python: the sum, two counts and the highest one
    struct Expected {
        const char* name;
        std::int64_t sum, first, last, highest;
    };
    for (const Expected& expected :
         {Expected{"decode_in1000out1000", 8543895552, 807392, 196961, 5913692},
          {"decode_in2000out100", 1378080000, 139785, 26691, 974055},
          {"prefill_in1024", 3892314112, 391534, 63608, 3594139},
          {"prefill_in2000out100", 28480828416, 2966016, 435200, 25846656},
          {"prefill_in4096", 3892314112, 404668, 45589, 3501700},
          {"prefill_in512", 3892314112, 386816, 68690, 3538529}}) {
        CAPTURE(expected.name);
        const auto path = folder / "deepseek-r1" / (expected.name + std::string(".json"));
        const CountTable table = parse_sglang_json(read_text(path), "x.json");
        check_size(table, 1, 61, 256);
        CHECK(std::accumulate(table.counts.begin(), table.counts.end(), std::int64_t{0}) ==
              expected.sum);
        CHECK(table.row(0, 3, 0)[0] == expected.first);
        CHECK(table.row(0, 60, 0)[255] == expected.last);
        CHECK(*std::max_element(table.counts.begin(), table.counts.end()) == expected.highest);
        CHECK_STARTS_WITH(error_of([&] { number_layers(table, {}, "x.json"); }),
                          "x.json: rows 0 to 2 hold no tokens: ");
        CHECK(number_layers(table, {3, {}}, "x.json").num_layers() == 58);
    }
}

TEST_CASE("summed counts are read") {
    const CountTable table = parse_counts_json(fixture("summed.json"), "x.json");
    CHECK(table.layer_rows == LayerRows::unstated);
    check_size(table, 1, 3, 8);
    CHECK(table.counts == expected_sums());
    CHECK(parse_counts_json(R"({"counts":[[1,2.0],[3e0,4]]})", "x.json").counts ==
          Counts{1, 2, 3, 4});
}

TEST_CASE("what a sum declares must agree with its counts") {
    const auto error = [](const std::string& part, const std::string& by) {
        return error_for(parse_counts_json, replaced(kSummed, part, by));
    };
    CHECK(error("src", "num") == "");
    CHECK(
        error("layers\": 2", "layers\": 3") ==
        "x.json: \"num_layers\" is 3, while \"counts\" has 2: the file is damaged; make it again");
    CHECK_STARTS_WITH(error("experts\": 2", "experts\": 256"),
                      "x.json: \"num_experts\" is 256, while \"counts\" has 2");
    CHECK(error("layers\": 2", "layers\": \"2\"") ==
          "x.json: \"num_layers\": a string; an integer is needed");
    CHECK(error("layers\": 2", "layers\": [2]") ==
          "x.json: \"num_layers\": a list; an integer is needed");
    CHECK(error("[[1, 2], [3.0, 4]]", "[1, 2]") ==
          "x.json: \"counts\": must be [layers][experts], it has 1 dimensions");
    CHECK(error("[[1, 2], [3.0, 4]]", "[[[1, 2], [3.0, 4]]]") ==
          "x.json: \"counts\": must be [layers][experts], it has 3 dimensions");
}

TEST_CASE("entries of a load history are iterations of MoE layers") {
    const CountTable table = parse_vllm_history(fixture("vllm_history.json"), "x.json");
    CHECK(table.layer_rows == LayerRows::moe_layers);
    check_size(table, 3, 3, 8);
    CHECK(table.counts == expected_counts());
    CHECK(parse_vllm_history(kHistory, "x.json").counts == Counts{1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("faults of a load history are refused with their place") {
    const auto check = [](const std::string& part, const std::string& by,
                          const std::string& fault) {
        CHECK(error_for(parse_vllm_history, replaced(kHistory, part, by)) == "x.json: " + fault);
    };
    check("\"load_history\"", "\"history\"",
          "\"load_history\" is missing: it does not hold counts in this format");
    check("\"window\"", "\"load_history\"", "key \"load_history\" stands there twice");
    check("\"x\"", "\"logical_expert_load\"",
          "key \"logical_expert_load\" stands twice in one entry of \"load_history\"");
    check("{\"logical_expert_load\"", "{\"load\"",
          "\"load_history\"[1]: key \"logical_expert_load\" is missing");
    check("[7, 8]", "[7, -8]",
          "\"load_history\"[1][1][1]: -8 is negative; counts must be whole numbers, 0 or more");
    check(", [7, 8]", "", "\"load_history\"[1]: a list of 1, while those before it have 2 entries");
    check("[[1, 2], [3, 4]]", "[]", "\"load_history\"[0]: an empty list");
    check("[[1, 2], [3, 4]]", "5", "\"load_history\"[0]: a number; a list is needed");
    check("[[1, 2], [3, 4]]", "[5]",
          "\"load_history\"[1][0]: a list where the lists before it hold counts");
    check("{\"step\": 1, \"logical_expert_load\": [[1, 2], [3, 4]]}", "[[1, 2], [3, 4]]",
          "\"load_history\"[0]: a list; an object with the key \"logical_expert_load\" is needed");
    CHECK(error_for(parse_vllm_history, R"({"load_history": []})") ==
          "x.json: \"load_history\": an empty list");
    CHECK(error_for(parse_vllm_history, R"({"load_history": {"logical_expert_load": [[1]]}})") ==
          "x.json: \"load_history\": an object; a list is needed");
    CHECK(error_for(parse_vllm_history, R"({"load_history": [{"logical_expert_load": [1, 2]}]})") ==
          "x.json: \"logical_expert_load\": must be [layers][experts], it is one list");
}

TEST_CASE("any spelling of counts that JSON allows is read") {
    const CountTable plain = parse_sglang_json(R"({"logical_count":[[1,0],[20,1000]]})", "x.json");
    for (
        const std::string text :
        {"\xef\xbb\xbf{\"logical_count\":[[1,0],[20,1000]]}",
         "\r\n{ \"logical_count\" :\t[ [ 1 ,-0]\n, "
         "[20.0 , 1e3 ] ] }\n\n",
         R"({"logical\u005fcount":[[1.0,0.0],[2.0E1,1000.00]],"a":{"logical_count":[[3,"x"]]}})",
         R"({"a":[1,-2.5,null,true,{"b":[[]]}],"b":1e9,"c":"","logical_count":[[1,0],[20,1000]]})"})
        CHECK(parse_sglang_json(text, "x.json").counts == plain.counts);
}

TEST_CASE("faults of nested counts are refused with their place") {
    struct Case {
        std::string value;
        std::string fault;
    };
    const std::string rule = "; counts must be whole numbers, 0 or more";
    for (const Case& broken : std::vector<Case>{
             {"[[1,2],[3]]", "[1]: a list of 1, while those before it have 2 entries"},
             {"[[1,2],[3,4,5]]", "[1]: a list of 3, while those before it have 2 entries"},
             {"[[[1],[2]],[[3]]]", "[1]: a list of 1, while those before it have 2 entries"},
             {"[[[1],[2]],[[3],[4,5]]]",
              "[1][1]: a list of 2, while those before it have 1 entries"},
             {"[]", ": an empty list"},
             {"[[1],[]]", "[1]: an empty list"},
             {"[[],[1]]", "[0]: an empty list"},
             {"[[1],2]", "[1]: a count where the items before it are lists"},
             {"[1,[2]]", "[1]: a list where the lists before it hold counts"},
             {"[[1],[[2]]]", "[1][0]: a list where the lists before it hold counts"},
             {"[[[[1]]]]",
              "[0][0][0]: a list in a list of experts; iterations, layers and experts "
              "are the most"},
             {"[[1,2.5]]", "[0][1]: 2.5 is no whole number" + rule},
             {"[[1,-2]]", "[0][1]: -2 is negative" + rule},
             {"[[1,-2.0]]", "[0][1]: -2.0 is negative" + rule},
             {"[[1,-1e300]]", "[0][1]: -1e300 is negative" + rule},
             {"[[1,1099511627776]]", "[0][1]: 1099511627776 is absurd" + rule},
             {"[[1,1099511627776.0]]", "[0][1]: 1099511627776.0 is absurd" + rule},
             {"[[1,18446744073709551615]]", "[0][1]: 18446744073709551615 is absurd" + rule},
             {"[[1,-9223372036854775808]]", "[0][1]: -9223372036854775808 is negative" + rule},
             {"[[1,184467440737095516150]]", "[0][1]: 184467440737095516150 is absurd" + rule},
             {"[[1,null]]", "[0][1]: null" + rule},
             {"[[1,true]]", "[0][1]: a boolean" + rule},
             {"[[1,\"2\"]]", "[0][1]: a string" + rule},
             {"[[1,{}]]", "[0][1]: an object" + rule},
             {"5", ": a number; a list is needed"},
             {"null", ": null; a list is needed"},
             {"{}", ": an object; a list is needed"},
             {"[1,2]", ": must be [layers][experts] or [steps][layers][experts], it is one list"},
         })
        CHECK(error_for(parse_sglang_json, "{\"logical_count\":" + broken.value + "}") ==
              "x.json: \"logical_count\"" + broken.fault);
    CHECK(parse_sglang_json(R"({"logical_count":[[1099511627775,1099511627775.0]]})", "x.json")
              .counts == Counts{1099511627775, 1099511627775});
}

TEST_CASE("what is no document of counts is refused") {
    struct Case {
        std::string text;
        std::string fault;
    };
    const std::string deep(100'000, '[');
    for (const Case& broken : std::vector<Case>{
             {"", "is empty"},
             {" \n", "is empty"},
             {"[[1]]", "holds a list, not an object with the key \"logical_count\""},
             {"5", "holds a number, not an object with the key \"logical_count\""},
             {"{}", "\"logical_count\" is missing: it does not hold counts in this format"},
             {R"({"physical_to_logical_map":[[0,1]]})",
              "\"logical_count\" is missing: with \"physical_to_logical_map\" it is a placement, "
              "not counts"},
             {R"({"logical_count":[[1]],"logical_count":[[1]]})",
              "key \"logical_count\" stands there twice"},
             {R"({"a":1,"a":1,"logical_count":[[1]]})", "key \"a\" stands there twice"},
             {R"({"logical_count":[[1,NaN]]})", "NaN at byte 22: counts must be whole numbers"},
             {R"({"logical_count":[[1,Infinity]]})",
              "Infinity at byte 22: counts must be whole numbers"},
             {R"({"logical_count":[[1,-Infinity]]})",
              "Infinity at byte 23: counts must be whole numbers"},
             {R"({"logical_count":[[1,1e999]]})", "number 1e999 at byte 26 is absurd"},
             {R"({"logical_count":[[1 2]]})", "is no valid JSON at byte 22"},
             {R"({"logical_count":[[1]]}})", "is no valid JSON at byte 24"},
             {R"({"logical_count":[[1]]} {})", "is no valid JSON at byte 25"},
             {R"({"logical_count":[[01]]})", "is no valid JSON at byte 21"},
             {"{\"\xff\":1}", "is no valid JSON at byte 3"},
             {"{\"a\":" + deep, "key \"a\": is nested too deep"},
             {"{\"logical_count\":" + deep,
              "\"logical_count\"[0][0][0]: a list in a list of experts; iterations, layers and "
              "experts are the most"},
         }) {
        CAPTURE(broken.text.substr(0, 100));
        CHECK(error_for(parse_sglang_json, broken.text) == "x.json: " + broken.fault);
    }
}

TEST_CASE("SGLang's JSON with other dimensions is refused, as its .pt is") {
    const auto error = [](const std::string& layout) {
        return "x.json: \"logical_count_layout\" is \"" + layout +
               "\", only [steps][layers][experts] is read; record with the modes stat or per_pass";
    };
    const auto check = [&](const std::string& layout, const std::string& shown) {
        const std::string counts = R"("logical_count":[[[1,2]],[[3,4]]])";
        const std::string member = R"("logical_count_layout":)" + layout;
        CHECK(error_for(parse_sglang_json, "{" + counts + "," + member + "}") == error(shown));
        CHECK(error_for(parse_sglang_json, "{" + member + "," + counts + "}") == error(shown));
    };
    check("\"rank_layer_expert\"", "rank_layer_expert");
    check("null", "");
    check("[\"a\",\"b\"]", "");
    check(R"({"a":"b"})", "");
    // of another object than the document's
    CHECK(parse_sglang_json(
              R"({"a":{"logical_count_layout":"x"},"b":"y","logical_count":[[[1,2]]]})", "x.json")
              .counts == Counts{1, 2});
}

TEST_CASE("keys are fit for a terminal when messages show them") {
    CHECK(error_for(parse_sglang_json, R"({"a\u001b[2J":1,"a\u001b[2J":1})") ==
          "x.json: key \"a?[2J\" stands there twice");
    CHECK(error_for(parse_sglang_json, R"({"\u009b":)" + std::string(200, '[')) ==
          "x.json: key \"??\": is nested too deep");
}

TEST_CASE("a list longer than any table has is refused") {
    std::string text = "{\"logical_count\":[[0";
    for (int i = 1; i < (1 << 20) + 1; ++i)
        text += ",0";
    CHECK(error_for(parse_sglang_json, text + "]]}") ==
          "x.json: \"logical_count\"[0][1048577]: more than 1048576 entries are absurd");
}

TEST_CASE("JSON that is cut off at any byte is refused") {
    check_truncations(parse_sglang_json, kSglang);
    check_truncations(parse_counts_json, kSummed);
    check_truncations(parse_vllm_history, kHistory);
}

TEST_CASE("a flipped bit gives an error or other counts") {
    check_flipped_bits(parse_sglang_json, kSglang);
    check_flipped_bits(parse_counts_json, kSummed);
    check_flipped_bits(parse_vllm_history, kHistory);
}

}  // namespace eplb::test_count_readers
