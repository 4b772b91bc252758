#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_esft_text {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

using Counts = std::vector<std::int64_t>;

const std::filesystem::path kFixtures = test::test_data() / "formats" / "counts";

// two samples, of two tokens and of one, top-2
const std::string kLayer = "0\t2\t2\t1\t\t0.5\t0.25\t0.1\t0.9\n3\t0\t\t0.0001\t1\n";
const Counts kLayerCounts = {1, 1, 2, 0, 1, 0, 0, 1};  // [2][4]

CountTable parse(const std::string& text, int num_experts = 0) {
    return parse_esft_text({{5, "layer_5.txt", text}}, num_experts);
}

std::string error_for(const std::string& text, int num_experts = 0) {
    return error_of([&] { parse(text, num_experts); });
}

}  // namespace

TEST_CASE("a folder of ESFT's text is read as its routes were counted") {
    for (const int num_experts : {0, 8}) {
        const CountTable table = read_esft_text(kFixtures / "esft", num_experts);
        CHECK(table.layer_rows == LayerRows::by_id);
        CHECK(table.layers == std::vector{1, 2, 10});
        CHECK(table.num_layers() == 3);
        CHECK(table.num_iterations == 3);
        CHECK(table.num_experts == 8);
        CHECK(table.top_k == 0);
        CHECK(table.has_unknown_sources);
        CHECK(table.warnings.empty() == (num_experts == 8));
        Counts expected;  // by Python; tests/data/formats/make_count_fixtures.py
        for (const auto& layers : nlohmann::json::parse(read_text(kFixtures / "expected.json")))
            for (const auto& row : layers)
                for (const auto& count : row)
                    expected.push_back(count);
        CHECK(table.counts == expected);
        CHECK(number_layers(table, {}, "x").layers == std::vector{1, 2, 10});
    }
}

TEST_CASE("one file of ESFT's text is one layer") {
    const TemporaryFolder folder;
    write_text(folder / "v2_layer_26.txt", kLayer);
    const CountTable table = read_esft_text(folder / "v2_layer_26.txt", 0);
    CHECK(table.layers == std::vector{26});
    CHECK(table.counts == kLayerCounts);
    CHECK(table.warnings ==
          std::vector<std::string>{"num_experts is taken for 4, the highest id + 1; give "
                                   "it if the model has more"});
    CHECK(read_esft_text(folder / "v2_layer_26.txt", 5).num_experts == 5);
}

TEST_CASE("ends of lines may be spelled in any way") {
    CHECK(parse(kLayer).counts == kLayerCounts);
    CHECK(parse(kLayer.substr(0, kLayer.size() - 1)).counts == kLayerCounts);
    std::string crlf;
    for (const char c : kLayer)
        crlf += c == '\n' ? "\r\n" : std::string(1, c);
    CHECK(parse(crlf).counts == kLayerCounts);
}

TEST_CASE("faults of ESFT's text are refused with their line") {
    struct Case {
        std::string line;
        std::string fault;
    };
    for (const Case& broken : std::vector<Case>{
             {"", "is empty; a line is a sample with tokens"},
             {"\t", "has no expert ids"},
             {"\t0.5", "has no expert ids"},
             {"1", "has no empty field between expert ids and gate weights: it was cut off"},
             {"1\t2\t0.5\t0.5", "field 3, \"0.5\", is no expert id"},
             {"1\t2\t\t0.5", "has 2 expert ids and 1 gate weights"},
             {"1\t2\t", "has 2 expert ids and 0 gate weights"},
             {"1\t2\t\t0.5\t0.5\t0.5", "has 2 expert ids and 3 gate weights"},
             {"1\t2\t\t0.5\t", "field 5, \"\", is no gate weight"},
             {"1\t2\t\t0.5\t\t0.5", "field 5, \"\", is no gate weight"},
             {"1\t2\t\t0.5\tnan", "field 5, \"nan\", is no gate weight"},
             {"1\t2\t\t0.5\t0.5x", "field 5, \"0.5x\", is no gate weight"},
             {"1\t2 \t\t0.5\t0.5", "field 2, \"2 \", is no expert id"},
             {"1\t2.0\t\t0.5\t0.5", "field 2, \"2.0\", is no expert id"},
             {"1\t99999999999999999999\t\t0.5\t0.5", "field 2, \"99999999999999999999\", is no"},
             {"1\t-1\t\t0.5\t0.5", "expert id -1 is negative"},
             {"1\t4096\t\t0.5\t0.5", "expert id 4096 is absurd; give num_experts if the model"},
             {std::string(100, 'x'), "field 1, \"" + std::string(40, 'x') + "\", is no expert id"},
         })
        CHECK_STARTS_WITH(error_for(kLayer + broken.line + "\n" + kLayer),
                          "layer_5.txt: line 3: " + broken.fault);
    CHECK_STARTS_WITH(error_for(""), "layer_5.txt: is empty: nothing was recorded");
    CHECK_STARTS_WITH(error_for("\n"), "layer_5.txt: line 1: is empty");
    CHECK_STARTS_WITH(error_for(kLayer, 3),
                      "layer_5.txt: line 2: expert id 3 is outside [0, 3): give the model's "
                      "num_experts");
    CHECK(parse("4999\t\t1\n", 5000).counts.back() == 1);
}

TEST_CASE("short samples of many experts do not take memory out of proportion") {
    // 4000 samples are a table of 16 million counts, 128 MiB; 5000 are more
    const auto samples = [](int num_samples, int last_id) {
        std::string text;
        for (int sample = 1; sample < num_samples; ++sample)
            text += "0\t\t1\n";
        return text + std::to_string(last_id) + "\t\t1\n";
    };
    CHECK(parse(samples(4000, 4095)).counts.size() == 4000 * 4096);
    CHECK_STARTS_WITH(error_for(samples(5000, 4095)),
                      "layer_5.txt: 5000 samples in 25003 bytes are too short for a model of 4096 "
                      "experts: this is no ESFT text");
    CHECK_STARTS_WITH(
        error_for(samples(1000, 0), 1 << 20),
        "layer_5.txt: 1000 samples in 5000 bytes are too short for a model of 1048576");
    // 320 counts, 64 for each of five bytes
    CHECK(parse(samples(60000, 319)).counts.size() == 60000 * 320);
    CHECK_STARTS_WITH(error_for(samples(60000, 320)), "layer_5.txt: 60000 samples in 300002 bytes");
}

TEST_CASE("layers of different runs are refused") {
    const auto error = [](const std::string& other) {
        return error_of([&] {
            parse_esft_text({{5, "layer_5.txt", kLayer}, {3, "layer_3.txt", other}}, 0);
        });
    };
    CHECK(error("0\t1\t0\t1\t\t1\t1\t1\t1\n0\t1\t\t1\t1\n") == "");
    CHECK(
        error("0\t1\t0\t1\t\t1\t1\t1\t1\n") ==
        "layer_5.txt: has 2 lines, layer_3.txt has 1: the files are of different runs; copy those "
        "of one");
    CHECK(error("0\t1\t0\t1\t\t1\t1\t1\t1\n0\t\t1\n") ==
          "layer_5.txt: line 2: has 2 expert ids, layer_3.txt has 1: the files are of different "
          "runs; copy those of one");
}

TEST_CASE("num_experts is taken from all layers") {
    const CountTable table =
        parse_esft_text({{5, "layer_5.txt", "1\t\t1\n"}, {3, "layer_3.txt", "2\t\t1\n"}}, 0);
    CHECK(table.layers == std::vector{3, 5});
    CHECK(table.counts == Counts{0, 0, 1, 0, 1, 0});
}

TEST_CASE("names of files tell the layers") {
    const TemporaryFolder folder;
    const std::string path = folder.path().string();
    const auto error = [&] { return error_of([&] { read_esft_text(folder.path(), 0); }); };
    CHECK_STARTS_WITH(error(), path + ": holds no .txt file of a layer");
    write_text(folder / "layer_7.txt", kLayer);
    write_text(folder / "notes.md", "not read");
    CHECK(error() == "");
    write_text(folder / "l007.txt", kLayer);
    CHECK(error() == path +
                         "/layer_7.txt: is layer 7 by its name, as l007.txt is; move one of them "
                         "out of the folder");
    std::filesystem::remove(folder / "l007.txt");
    for (const std::string name : {"README.txt", "layer_99999999999.txt"}) {
        write_text(folder / name, kLayer);
        CHECK_STARTS_WITH(error(), path + "/" + name + ": has no layer id in its name; name it");
        std::filesystem::remove(folder / name);
    }
    std::filesystem::create_directory(folder / "8.txt");
    CHECK_STARTS_WITH(error(), path + "/8.txt: is a folder");
    CHECK_STARTS_WITH(error_of([&] { read_esft_text(folder / "absent_1.txt", 0); }),
                      path + "/absent_1.txt: cannot open");
}

TEST_CASE("ESFT's text that is cut off is an error or has fewer samples") {
    // a cut in the last weight of a line cannot be told; the counts are the same
    const std::size_t first_end = kLayer.find('\n') + 1;
    const std::size_t first_weight = kLayer.rfind('\t', first_end) + 1;
    const std::size_t last_weight = kLayer.rfind('\t') + 1;
    for (std::size_t size = 0; size < kLayer.size(); ++size) {
        CAPTURE(size);
        CountTable table;
        const std::string error = error_of([&] { table = parse(kLayer.substr(0, size)); });
        if (size > last_weight)
            CHECK(table.counts == kLayerCounts);
        else if (size > first_weight && size <= first_end)
            CHECK(table.counts == Counts{1, 1, 2});
        else
            CHECK_STARTS_WITH(error, "layer_5.txt: ");
    }
}

TEST_CASE("a flipped bit in ESFT's text gives an error or other counts") {
    for (std::size_t bit = 0; bit < 8 * kLayer.size(); ++bit) {
        std::string flipped = kLayer;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_for(flipped);
        CHECK((error.empty() || error.starts_with("layer_5.txt: ")));
    }
}

}  // namespace eplb::test_esft_text
