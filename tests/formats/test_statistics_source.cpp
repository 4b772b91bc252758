#include <filesystem>
#include <map>
#include <tuple>
#include <vector>

#include "lib/base/error.h"
#include "lib/formats/statistics/statistics_source.h"
#include "tests/test_support.h"

namespace eplb::test_statistics_source {

using eplb::test::error_of;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

// three rows of four experts, the first without tokens
constexpr const char* kSglang = R"({"logical_count": [[0,0,0,0],[1,2,3,4],[4,3,2,1]]})";

// A file of the given content, and what it is taken for.
InputFormat recognized(const std::string& content) {
    TemporaryFolder folder;
    write_text(folder / "file", content);
    return recognize_statistics((folder / "file").string());
}

class SeenRows : public RowSink {
  public:
    void begin(const ExpertStatistics& recording) override { shape = recording; }
    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override {
        rows[{iteration, layer, source}] = {counts.begin(), counts.end()};
    }
    ExpertStatistics shape;
    std::map<std::tuple<std::int64_t, int, int>, std::vector<std::int64_t>> rows;
};

}  // namespace

TEST_CASE("a file's format is told from its content") {
    CHECK(recognized(kSglang) == InputFormat::sglang_json);
    CHECK(recognized("\n  {\"note\": {\"counts\": 1}, \"logical_count\": []}") ==
          InputFormat::sglang_json);
    CHECK(recognized(R"({"num_layers": 1, "counts": [[1]]})") == InputFormat::counts_json);
    CHECK(recognized(R"({"load_history": []})") == InputFormat::vllm_history);
    CHECK(recognized("{\"type\":\"meta\"}\n{\"type\":\"route\"}\n") == InputFormat::routing_trace);
    CHECK(recognized("{\"format\":\"eplb-statistics\"}\n") == InputFormat::stream);
    CHECK(recognized("3\t1\t2\t0\t\t0.5\t0.5\t0.25\t0.75\n") == InputFormat::esft_text);
    // what is none of them goes to the stream's reader, which says so
    CHECK(recognized("") == InputFormat::stream);
    CHECK(recognized("hello") == InputFormat::stream);
    CHECK(recognize_statistics("-") == InputFormat::stream);
}

TEST_CASE("a folder's format is told from its files") {
    TemporaryFolder folder;
    const std::string path = folder.path().string();
    CHECK(recognize_statistics(path) == InputFormat::trtllm);
    write_text(folder / "layer_3.txt", "1\t\t0.5\n");
    CHECK(recognize_statistics(path) == InputFormat::esft_text);
    const std::filesystem::path dumps = test::test_data() / "formats" / "torch";
    std::filesystem::copy(dumps / "stat.pt", folder / "recorder_0.pt");
    CHECK(recognize_statistics(path) == InputFormat::sglang_stat);
    write_text(folder / "recorder_1.pt", "PK");
    CHECK(recognize_statistics(path) == InputFormat::sglang_passes);
    write_text(folder / "rank0.safetensors", "");
    CHECK(recognize_statistics(path) == InputFormat::trtllm);
}

TEST_CASE("a folder of one stat dump is read as that dump") {
    const std::filesystem::path dump = test::test_data() / "formats" / "torch" / "stat.pt";
    TemporaryFolder folder;
    std::filesystem::copy(dump, folder / "stat.pt");
    ThreadPool threads(1);
    SourceOptions options;
    options.layers.first_moe_layer = 1;
    const SourceReading reading = read_source(folder.path().string(), options, {}, threads);
    CHECK(reading.format == InputFormat::sglang_stat);
    CHECK(reading.statistics == read_source(dump.string(), options, {}, threads).statistics);
}

TEST_CASE("what is no statistics is refused by name") {
    TemporaryFolder folder;
    for (const char* const other : {"{\"counted\": 1}", "{\"note", "{}"}) {
        write_text(folder / "other.json", other);
        CHECK_STARTS_WITH(
            error_of([&] { recognize_statistics((folder / "other.json").string()); }),
            (folder / "other.json").string() + ": is no JSON of statistics, or damaged");
    }
    for (const char* const config :
         {R"({"physical_to_logical_map": [[0]]})", R"({"model_maps": {}})",
          R"({"moe_layer_count": 1, "layer_list": []})"}) {
        write_text(folder / "config.json", config);
        CHECK_STARTS_WITH(
            error_of([&] { recognize_statistics((folder / "config.json").string()); }),
            (folder / "config.json").string() + ": is a config, not statistics");
    }
}

TEST_CASE("a table becomes statistics: options, iterations, rows") {
    TemporaryFolder folder;
    const std::string path = (folder / "counts.json").string();
    // two steps of three layers
    write_text(folder / "counts.json",
               R"({"logical_count": [[[0,0],[1,2],[3,0]], [[0,0],[5,6],[7,8]]]})");
    ThreadPool threads(1);
    SourceOptions options;
    options.layers.first_moe_layer = 1;
    SeenRows seen;
    const SourceReading reading = read_source(path, options, {}, threads, &seen);
    CHECK(reading.format == InputFormat::sglang_json);
    CHECK(reading.statistics.layers == std::vector<int>{1, 2});
    CHECK(reading.statistics.num_iterations == 2);
    CHECK(reading.statistics.has_unknown_sources);
    CHECK(reading.statistics.counts == std::vector<std::int64_t>{1, 2, 3, 0, 5, 6, 7, 8});
    CHECK(seen.shape.num_iterations == 2);
    CHECK(seen.rows.size() == 4);
    CHECK(seen.rows.at({1, 1, 0}) == std::vector<std::int64_t>{7, 8});

    const ExpertStatistics second =
        read_source(path, options, {.iter_start = 1, .iter_stop = {}, .sum_sources = true}, threads)
            .statistics;
    CHECK(second.iter_start == 1);
    CHECK(second.num_iterations == 1);
    CHECK(second.counts == std::vector<std::int64_t>{5, 6, 7, 8});
    CHECK_STARTS_WITH(
        error_of([&] { read_source(path, options, {.iter_start = 2, .iter_stop = {}}, threads); }),
        path + ":");
    // rows without tokens may be dense layers or not: the options must say
    CHECK_STARTS_WITH(error_of([&] { read_statistics(path, {}, threads); }), path + ": ");
}

TEST_CASE("options that a format has no use for") {
    TemporaryFolder folder;
    write_text(folder / "sglang.json", kSglang);
    write_text(folder / "s.jsonl", "{\"format\":\"eplb-statistics\"}\n");
    ThreadPool threads(1);
    SourceOptions experts;
    experts.num_experts = 4;
    CHECK_STARTS_WITH(
        error_of([&] { read_source((folder / "sglang.json").string(), experts, {}, threads); }),
        (folder / "sglang.json").string() + ": sglang-json says how many experts there are");
    SourceOptions torch;
    torch.format = InputFormat::sglang_stat;
    CHECK_STARTS_WITH(error_of([&] { read_source("-", torch, {}, threads); }),
                      "standard input: sglang-stat comes in files");
}

TEST_CASE("a recording that names its layers has none but the model's") {
    TemporaryFolder folder;
    const std::string path = (folder / "s.jsonl").string();
    write_text(folder / "s.jsonl",
               "{\"format\":\"eplb-statistics\",\"version\":1,\"num_experts\":2,\"top_k\":1,"
               "\"ep_size\":1,\"layers\":[3,5],\"iter_start\":0}\n"
               "{\"iteration\":0,\"layer\":3,\"counts\":[[1,0]]}\n"
               "{\"iteration\":0,\"layer\":5,\"counts\":[[0,1]]}\n"
               "{\"end\":true,\"num_iterations\":1}\n");
    ThreadPool threads(1);
    SourceOptions options;
    options.layers.moe_layers = {2, 3, 4, 5};
    CHECK(read_source(path, options, {}, threads).statistics.layers == std::vector<int>{3, 5});
    CHECK(!read_source(path, options, {}, threads).statistics.has_all_moe_layers);
    options.layers.moe_layers = {3};  // layers behind may be of multi-token prediction
    CHECK(read_source(path, options, {}, threads).statistics.layers == std::vector<int>{3, 5});
    options.layers.moe_layers = {3, 4, 6};
    CHECK(error_of([&] { read_source(path, options, {}, threads); }) ==
          path + ": holds tokens of layer 5, while moe_layers says that it has no experts");
    options.layers = {4, {}};
    CHECK(error_of([&] { read_source(path, options, {}, threads); }) ==
          path + ": holds tokens of layer 3, while first_moe_layer says that it has no experts");
}

}  // namespace eplb::test_statistics_source
