#include <numeric>

#include "lib/base/error.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_statistics_stream {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::replaced;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

// two ranks, three experts, layers 3 and 7, iterations 100 and 101
const std::string kFirst =
    R"({"format":"eplb-statistics","version":1,"num_experts":3,"top_k":2,"ep_size":2,)"
    R"("layers":[3,7],"iter_start":100})";
const std::string kLines[] = {
    R"({"iteration":100,"layer":3,"counts":[[0,1,2],[3,4,5]]})",
    R"({"iteration":100,"layer":7,"counts":[[6,7,8],[9,10,11]]})",
    R"({"iteration":101,"layer":3,"counts":[[12,13,14],[15,16,17]]})",
    R"({"iteration":101,"layer":7,"counts":[[18,19,20],[21,22,1000]]})",
};
const std::string kEnd = R"({"end":true,"num_iterations":2})";

std::string join(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines)
        text += line + "\n";
    return text;
}

const std::string kWhole = join({kFirst, kLines[0], kLines[1], kLines[2], kLines[3], kEnd});

ExpertStatistics whole_statistics() {
    ExpertStatistics statistics;
    statistics.num_experts = 3;
    statistics.top_k = 2;
    statistics.ep_size = statistics.num_sources = 2;
    statistics.layers = {3, 7};
    statistics.iter_start = 100;
    statistics.num_iterations = 2;
    statistics.allocate();
    std::iota(statistics.counts.begin(), statistics.counts.end(), 0);
    statistics.counts.back() = 1000;
    return statistics;
}

ExpertStatistics read(const std::string& text, const StatisticsSelection& selection = {}) {
    const TemporaryFolder folder;
    write_text(folder / "s.jsonl", text);
    return read_statistics_stream((folder / "s.jsonl").string(), selection);
}

// without the folder's name: "s.jsonl: line 3: …"
std::string error_for(const std::string& text, const StatisticsSelection& selection = {}) {
    const std::string error = error_of([&] { read(text, selection); });
    const std::size_t name = error.find("s.jsonl: ");
    return name == std::string::npos ? error : error.substr(name);
}

std::string written(const ExpertStatistics& statistics) {
    const TemporaryFolder folder;
    OutputFile output((folder / "s.jsonl").string());
    StatisticsStreamWriter writer(statistics, output);
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        writer.write_iteration(statistics, iteration);
    writer.write_end(statistics.num_iterations);
    output.commit();
    return read_text(folder / "s.jsonl");
}

}  // namespace

TEST_CASE("a stream is written as documented") {
    CHECK(written(whole_statistics()) == kWhole);
    ExpertStatistics slots = whole_statistics();
    slots.ids = IdKind::slot;
    slots.layer_updates_per_iter = 5;
    CHECK(written(slots) == replaced(kWhole, "\"iter_start\":100",
                                     "\"iter_start\":100,\"ids\":\"slot\","
                                     "\"layer_updates_per_iter\":5"));
    CHECK(read(written(slots)) == slots);
}

TEST_CASE("a documented stream is read") {
    CHECK(read(kWhole) == whole_statistics());
    const ExpertStatistics sum = read(kWhole, {{}, {}, true});
    CHECK(sum.num_sources == 1);
    CHECK(sum.ep_size == 2);
    CHECK(sum.counts == std::vector<std::int64_t>{3, 5, 7, 15, 17, 19, 27, 29, 31, 39, 41, 1020});
}

TEST_CASE("the last newline may be missing") {
    CHECK(read(kWhole.substr(0, kWhole.size() - 1)) == whole_statistics());
}

TEST_CASE("the lines of counts may come in any order") {
    std::vector<int> order = {0, 1, 2, 3};
    do {
        std::vector<std::string> lines = {kFirst};
        for (const int i : order)
            lines.push_back(kLines[i]);
        lines.push_back(kEnd);
        CHECK(read(join(lines)) == whole_statistics());
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("any spelling that JSON allows is read") {
    CHECK(read(join({R"( { "iter_start" : 100, "layers": [ 3 , 7 ], "ep_size":2, "top_k":2,)"
                     R"("num_experts":3, "version":1, "format":"eplb\u002dstatistics" } )"
                     "\r",
                     R"({"counts":[[0,1,2],[3,4,5]],"layer":3,"iteration":100})",
                     R"({"iteration":100, "layer":7,"counts":[[6,7,8],[9,10,11]]})"
                     "\r",
                     R"({"iteration":101,"layer":3,"counts":[[ 12,13,14],[15,16,17 ]]})",
                     "{\"iteration\":101,\"layer\":7,\"\\u0063ounts\":[[18,19,20],[21,22,1000]]}\t",
                     R"({ "num_iterations" : 2, "end" : true })"})) == whole_statistics());
}

TEST_CASE("a selection of iterations is read") {
    const ExpertStatistics second = read(kWhole, {101, {}, true});
    CHECK(second.iter_start == 101);
    CHECK(second.num_iterations == 1);
    CHECK(second.counts == std::vector<std::int64_t>{27, 29, 31, 39, 41, 1020});
    CHECK(read(kWhole, {{}, 101, false}).counts ==
          std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    for (const auto& [start, stop] : {std::pair(99, 101), {100, 103}, {101, 101}, {101, 100}})
        CHECK_STARTS_WITH(error_for(kWhole, {start, stop, false}),
                          "s.jsonl: holds iterations 100-102 (half open), not " +
                              std::to_string(start) + "-" + std::to_string(stop));
}

TEST_CASE("an unselected iteration is checked all the same") {
    const std::string twice = join({kFirst, kLines[0], kLines[0]});
    CHECK_STARTS_WITH(error_for(twice, {101, {}, false}),
                      "s.jsonl: line 3: iteration 100, layer 3");
}

TEST_CASE("input without a first line is refused") {
    CHECK_STARTS_WITH(error_for(""),
                      "s.jsonl: line 1: the input is empty: the program that writes it produced "
                      "nothing");
    CHECK_STARTS_WITH(error_for("\n"), "s.jsonl: line 1: is blank");
}

TEST_CASE("each fault of the first line is refused with its member") {
    const auto check = [](const std::string& part, const std::string& by,
                          const std::string& fault) {
        CHECK_STARTS_WITH(error_for(replaced(kWhole, part, by)), "s.jsonl: line 1: " + fault);
    };
    check(kFirst, "5", "must be an object");
    check(kFirst, "[]", "must be an object");
    check(kFirst, "null", "must be an object");
    check(kFirst, "{}", "\"format\" is missing: this is no statistics stream");
    check(kFirst, "eplb", "is no valid JSON at byte");
    check("eplb-statistics", "other", "\"format\" is \"other\": this is no statistics stream");
    check("\"version\":1", "\"version\":2", "version 2 is newer than version 1");
    check("\"version\":1,", "", "\"version\" is missing");
    check("\"version\":1", "\"version\":0", "\"version\" is 0");
    check("\"version\":1", "\"version\":\"1\"", "\"version\" must be an integer");
    check("\"version\":1", "\"version\":1,\"version\":1", "\"version\" stands there twice");
    check("\"version\":1", "\"version\":1,\"x\":1", "unknown member \"x\"");
    const std::string key = "\"\\u001b[2J\"";
    check("\"version\":1", key + ":1,\"version\":1", "unknown member \"?[2J\"");
    check("\"version\":1", key + ":1," + key + ":1", "\"?[2J\" stands there twice");
    check("\"version\":1", key + ":null", "\"?[2J\" holds null");
    check("eplb-statistics", "\\u001b[2J", "\"format\" is \"?[2J\": this is no");
    check("\"num_experts\":3", "\"num_experts\":0", "\"num_experts\" is 0");
    check("\"num_experts\":3", "\"num_experts\":3.0", "\"num_experts\" holds a number that is no");
    check("\"num_experts\":3", "\"num_experts\":99999999999", "\"num_experts\" is 99999999999");
    check("\"num_experts\":3", "\"num_experts\":{}", "\"num_experts\" holds an object");
    check("\"num_experts\":3", "\"num_experts\":null", "\"num_experts\" holds null");
    check("\"top_k\":2", "\"top_k\":4", "\"top_k\" must not exceed");
    check("\"ep_size\":2", "\"ep_size\":-1", "\"ep_size\" is -1");
    check("[3,7]", "[7,3]", "\"layers\" must be ascending");
    check("[3,7]", "[3,3]", "\"layers\" must be ascending");
    check("[3,7]", "[-1,3]", "\"layers\" must be ascending");
    check("[3,7]", "[]", "\"layers\" must not be empty");
    check("[3,7]", "[[3,7]]", "\"layers\" must be a list of integers");
    check("[3,7]", "[3,[7]]", "\"layers\" holds a list");
    check("[3,7]", "[3,\"7\"]", "\"layers\" holds a string");
    check("\"iter_start\":100", "\"iter_start\":-1", "\"iter_start\" is -1");
    check("\"iter_start\":100", "\"iter_start\":9223372036854775807", "\"iter_start\" is 92");
    check("\"iter_start\":100", "\"iter_start\":100,\"ids\":\"both\"", "\"ids\" must be");
    check("\"iter_start\":100", "\"iter_start\":100,\"layer_updates_per_iter\":-1",
          "\"layer_updates_per_iter\" is -1");
}

TEST_CASE("each fault of a line of counts is refused with its line") {
    const auto check = [](const std::string& part, const std::string& by,
                          const std::string& fault) {
        CHECK_STARTS_WITH(error_for(replaced(kWhole, part, by)), "s.jsonl: line 3: " + fault);
    };
    const std::string counts = "[[6,7,8],[9,10,11]]";
    check(kLines[1], "", "is blank");
    check(kLines[1], "[]", "must be an object");
    check(kLines[1], kLines[1] + "{}", "is no valid JSON at byte");
    check(kLines[1], kLines[0], "iteration 100, layer 3 stands there twice");
    check("\"layer\":7", "\"layer\":8", "layer 8 is not among the layers of line 1");
    check("\"layer\":7", "\"layer\":07", "is no valid JSON");
    check("\"layer\":7", "\"layer\":-7", "\"layer\" is -7");
    check("\"layer\":7,", "", "\"layer\" is missing");
    check("\"iteration\":100,\"layer\":7", "\"iteration\":99,\"layer\":7",
          "iteration 99 is before");
    check("\"iteration\":100,\"layer\":7", "\"layer\":7", "\"iteration\" is missing");
    check("\"iteration\":100,\"layer\":7", "\"iteration\":100,\"x\":1,\"layer\":7",
          "unknown member \"x\"");
    check(counts, "[[6,7,8]]", "\"counts\" has 1 ranks where ep_size is 2");
    check(counts, "[[6,7,8],[9,10,11],[]]", "\"counts\" has 3 ranks where ep_size is 2");
    check(counts, "[[6,7],[9,10,11]]", "\"counts\" has 2 entries for a rank");
    check(counts, "[[6,7,8],[9,10,11,12]]", "\"counts\" has 4 entries for a rank");
    check(counts, "[6,7,8,9,10,11]", "\"counts\" must be a list of lists");
    check(counts, "[[6,7,8],9,10,11]", "\"counts\" holds an integer in a list of lists");
    check(counts, "[6,[7,8],[9,10,11]]", "\"counts\" holds a list");
    check(counts, "[[[6,7,8]],[9,10,11]]", "\"counts\" holds a list");
    check(counts, "[[6,7,-8],[9,10,11]]", "count -8 is negative");
    check(counts, "[[6,7,1099511627776],[9,10,11]]", "count 1099511627776 is absurd");
    check(counts, "[[6,7,8.5],[9,10,11]]", "\"counts\" holds a number that is no integer");
    check(counts, "[[6,7,1e2],[9,10,11]]", "\"counts\" holds a number that is no integer");
    check(counts, "[[6,7,08],[9,10,11]]", "is no valid JSON");
    check(counts, "[[6,7,99999999999999999999],[9,10,11]]", "\"counts\" holds a number");
    check(counts, "[[6,7,18446744073709551615],[9,10,11]]", "\"counts\" holds a number that is");
    check(counts, "[[6,7,\"8\"],[9,10,11]]", "\"counts\" holds a string");
    check(counts, "[[6,7,true],[9,10,11]]", "\"counts\" holds a boolean");
    check(counts, "[[6,7,{}],[9,10,11]]", "\"counts\" holds an object");
    check(counts, "{\"6\":7}", "\"counts\" holds an object");
    check(counts, std::string(100'000, '['), "\"counts\" holds a list");
}

TEST_CASE("each fault of the end is refused") {
    const std::string body = join({kFirst, kLines[0], kLines[1], kLines[2], kLines[3]});
    CHECK_STARTS_WITH(error_for(body), "s.jsonl: line 6: the stream ends without its end line");
    CHECK_STARTS_WITH(error_for(kFirst), "s.jsonl: line 2: the stream ends without its end line");
    CHECK_STARTS_WITH(error_for(kWhole + "\n"), "s.jsonl: line 7: text after the end line");
    CHECK_STARTS_WITH(error_for(kWhole + kWhole), "s.jsonl: line 7: text after the end line");
    const auto check = [&](const std::string& end, const std::string& fault) {
        CHECK_STARTS_WITH(error_for(body + end + "\n"), "s.jsonl: line 6: " + fault);
    };
    check(R"({"end":false,"num_iterations":2})", "\"end\" must be true");
    check(R"({"end":1,"num_iterations":2})", "\"end\" must be true");
    check(R"({"end":true})", "\"num_iterations\" is missing");
    check(R"({"end":true,"num_iterations":0})", "the stream holds no iteration");
    check(R"({"end":true,"num_iterations":1})", "num_iterations is 1, but iteration 101 is there");
    check(R"({"end":true,"num_iterations":3})", "iteration 102 is missing");
    check(R"({"end":true,"num_iterations":2,"x":1})", "unknown member \"x\"");
}

TEST_CASE("an iteration and layer that nobody wrote is named") {
    for (int missing = 0; missing < 4; ++missing) {
        std::vector<std::string> lines = {kFirst};
        for (int i = 0; i < 4; ++i)
            if (i != missing)
                lines.push_back(kLines[i]);
        lines.push_back(kEnd);
        CHECK_STARTS_WITH(error_for(join(lines)),
                          "s.jsonl: line 5: iteration " + std::to_string(100 + missing / 2) +
                              ", layer " + (missing % 2 == 0 ? "3" : "7") + " is missing");
    }
    CHECK_STARTS_WITH(error_for(join({kFirst, kLines[2], kLines[3], kEnd})),
                      "s.jsonl: line 4: iteration 100 is missing");
    CHECK_STARTS_WITH(error_for(join({kFirst, kEnd})), "s.jsonl: line 2: iteration 100 is missing");
}

TEST_CASE("a stream cut off at any byte is refused") {
    // without its last newline alone it is still whole
    for (std::size_t size = 0; size + 1 < kWhole.size(); ++size) {
        CAPTURE(size);
        const std::string error = error_for(kWhole.substr(0, size));
        CAPTURE(error);
        CHECK(error.starts_with("s.jsonl: line "));
        if (size > 0)
            CHECK((error.find("cut off") != std::string::npos));
    }
}

TEST_CASE("a flipped bit in a stream gives an error or another valid stream") {
    for (std::size_t bit = 0; bit < 8 * kWhole.size(); ++bit) {
        std::string flipped = kWhole;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_for(flipped);
        CHECK((error.empty() || error.starts_with("s.jsonl: ")));
    }
}

TEST_CASE("a path is taken for what it is: a folder, a stream, or nothing") {
    const TemporaryFolder folder;
    ThreadPool threads(2);
    TrtllmStatisticsFolder(folder / "stats").write(whole_statistics(), nullptr);
    write_text(folder / "s.jsonl", kWhole);
    CHECK(read_statistics((folder / "stats").string(), {}, threads) == whole_statistics());
    CHECK(read_statistics((folder / "s.jsonl").string(), {}, threads) == whole_statistics());
    const std::string absent = (folder / "absent").string();
    CHECK_STARTS_WITH(error_of([&] { read_statistics(absent, {}, threads); }),
                      absent + ": no such file or folder; name a statistics folder, a file or -");
}

// a table for all layers of line 1 would have 8 * 10^10 bytes
TEST_CASE("a short stream takes no more memory than its lines bring") {
    constexpr int kMany = 100'000;
    std::string layers;
    std::string counts;
    for (int i = 0; i < kMany; ++i) {
        layers += (i == 0 ? "" : ",") + std::to_string(i);
        counts += i == 0 ? "0" : ",0";
    }
    const std::string number = std::to_string(kMany);
    const std::string text = R"({"format":"eplb-statistics","version":1,"num_experts":)" + number +
                             R"(,"top_k":1,"ep_size":1,"layers":[)" + layers +
                             R"(],"iter_start":0})" + "\n" +
                             R"({"iteration":0,"layer":5,"counts":[[)" + counts + "]]}\n" +
                             R"({"end":true,"num_iterations":1})" + "\n";
    CHECK(error_for(text) == "s.jsonl: line 3: iteration 0, layer 0 is missing");
}

}  // namespace eplb::test_statistics_stream
