#include "lib/formats/statistics/sglang_dump.h"

#include <map>
#include <nlohmann/json.hpp>

#include "lib/statistics/selection.h"
#include "tests/catch.h"
#include "tests/formats/torch_bytes.h"
#include "tests/test_support.h"

namespace eplb::test_sglang_dump {

using namespace eplb::test;
using nlohmann::json;

namespace fs = std::filesystem;

namespace {

using Strings = std::vector<std::string>;
using Integers = std::vector<std::int64_t>;

const fs::path kFixtures = test_data() / "formats" / "torch";

json expected_counts(const std::string& key) {
    return json::parse(read_text(kFixtures / "expected.json"))[key];
}

// any depth of lists, in their order
void flatten(const json& value, Integers& numbers) {
    if (value.is_number())
        numbers.push_back(value.get<std::int64_t>());
    else
        for (const json& item : value)
            flatten(item, numbers);
}

Integers flattened(const json& value) {
    Integers numbers;
    flatten(value, numbers);
    return numbers;
}

// [iterations][layers][1][experts] of [iterations][layers][ranks][experts]
Integers summed_over_ranks(const json& counts) {
    Integers sums;
    for (const json& iteration : counts)
        for (const json& layer : iteration) {
            Integers sum(layer[0].size(), 0);
            for (const json& rank : layer)
                for (std::size_t expert = 0; expert < sum.size(); ++expert)
                    sum[expert] += rank[expert].get<std::int64_t>();
            sums.insert(sums.end(), sum.begin(), sum.end());
        }
    return sums;
}

template <typename Integer>
std::string stored(const std::vector<Integer>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Integer)};
}

std::string pickle_of(const std::string& opcodes) {
    return "\x80\x02" + opcodes + ".";
}

// A tensor of int64 that is the whole of storage `key`.
std::string whole_tensor(const std::string& key, const Integers& shape) {
    Integers strides(shape.size(), 1);
    std::int64_t size = 1;
    for (std::size_t i = shape.size(); i-- > 0; size *= shape[i])
        strides[i] = size;
    return pickled_tensor("LongStorage", key, size, 0, shape, strides);
}

std::string stat_file(const Integers& counts, const Integers& shape) {
    return torch_file_of(pickle_of(pickled_dict({{"logical_count", whole_tensor("0", shape)}})),
                         {{"0", stored(counts)}});
}

struct Record {
    std::int64_t pass = 0;
    std::int64_t rank = 0;
    Integers counts;  // [layers][slots]
};

// A dump of passes with `map` [layers][slots].
std::string passes_file(const std::vector<Record>& records,
                        const Integers& map,
                        const Integers& shape) {
    std::vector<std::string> dicts;
    std::vector<std::pair<std::string, std::string>> storages = {{"map", stored(map)}};
    for (std::size_t i = 0; i < records.size(); ++i) {
        const std::string key = std::to_string(i);
        dicts.push_back(pickled_dict({{"forward_pass_id", pickled_integer(records[i].pass)},
                                      {"rank", pickled_integer(records[i].rank)},
                                      {"global_physical_count", whole_tensor(key, shape)}}));
        storages.emplace_back(key, stored(records[i].counts));
    }
    return torch_file_of(
        pickle_of(pickled_dict({{"records", pickled_list(dicts)},
                                {"last_physical_to_logical_map", whole_tensor("map", shape)}})),
        storages);
}

CountTable parse_stat(const std::string& content) {
    return parse_sglang_stat(parse_torch_file(bytes_of(content), "x.pt"));
}

// files are called 0.pt, 1.pt, …, their folder "dumps"
CountTable parse_passes(const Strings& contents, bool sum_sources = false) {
    std::vector<TorchFile> files;
    for (std::size_t i = 0; i < contents.size(); ++i)
        files.push_back(parse_torch_file(bytes_of(contents[i]), std::to_string(i) + ".pt"));
    return parse_sglang_passes(files, "dumps", sum_sources);
}

void check_stat_error(const std::string& content, const std::string& fault) {
    CHECK_STARTS_WITH(error_of([&] { parse_stat(content); }), "x.pt: " + fault);
}

void check_passes_error(const Strings& contents, const std::string& error) {
    CHECK_STARTS_WITH(error_of([&] { parse_passes(contents); }), error);
}

}  // namespace

TEST_CASE("stat dumps have the steps that hold tokens, whatever they were saved as") {
    const std::string wrapped =
        "the recorder's buffer may have wrapped around: iterations need not be in the order of "
        "time";
    const auto unused = [](int num_unused) {
        return std::to_string(num_unused) +
               " of 5 steps hold no tokens: unused places of the recorder's buffer, left out";
    };
    const std::map<std::string, Strings> warnings = {
        {"stat.pt", {unused(2)}},
        {"stat_no_window.pt", {unused(3)}},
        {"stat_wrapped.pt", {unused(2), wrapped}},
        {"stat_full.pt", {wrapped}},
        {"stat_view.pt", {unused(1)}},
        {"stat_protocol3.pt", {unused(4)}},
        {"stat_protocol4.pt", {unused(4)}},
        {"stat_protocol5.pt", {unused(4)}},
    };
    const json expected = expected_counts("stat");
    REQUIRE(expected.size() == warnings.size());
    for (const auto& [name, counts] : expected.items()) {
        CAPTURE(name);
        CHECK(recognize_sglang_dump(kFixtures / name) == SglangDump::stat);
        const CountTable table = read_sglang_stat(kFixtures / name);
        CHECK(table.layer_rows == LayerRows::decoder_layers);
        CHECK(table.num_layers() == 6);
        CHECK(table.num_experts == 8);
        CHECK(table.top_k == 0);
        CHECK(table.ids == IdKind::expert);
        CHECK(table.num_sources == 1);
        CHECK(table.has_unknown_sources);
        CHECK(table.iter_start == 0);
        CHECK(table.num_iterations == static_cast<int>(counts.size()));
        CHECK(table.counts == flattened(counts));
        CHECK(table.warnings == warnings.at(name));
    }
}

TEST_CASE("a stat dump of one step may lack the dimension of steps") {
    const CountTable table = parse_stat(stat_file({0, 0, 0, 1, 2, 3}, {2, 3}));
    CHECK(table.num_layers() == 2);
    CHECK(table.num_experts == 3);
    CHECK(table.num_iterations == 1);
    CHECK(table.counts == Integers{0, 0, 0, 1, 2, 3});
    CHECK(table.warnings.empty());
}

TEST_CASE("faults of a stat dump are told apart") {
    check_stat_error(stat_file({0, 0, 0, 1, 2, 3}, {6}), "logical_count: the shape is [6]");
    check_stat_error(stat_file({}, {0, 2, 3}), "logical_count: the shape is [0, 2, 3]");
    check_stat_error(stat_file(Integers(1 << 21), {1, 1, 1 << 21}),
                     "logical_count: the shape is [1, 1, 2097152], which is absurd");
    check_stat_error(stat_file({0, 0, 0, 0}, {2, 1, 2}), "none of its 2 steps holds a token");
    check_stat_error(stat_file({1, 0, 2, -3, 5, 1}, {3, 1, 2}),
                     "logical_count: count -3 in row 1, column 1 is negative");
    check_stat_error(stat_file({1, 0, kMaxCount + 1, 0}, {2, 1, 2}),
                     "logical_count: count 1099511627776 in row 1, column 0 is absurd");
    CHECK(parse_stat(stat_file({1, 0, kMaxCount, 0}, {2, 1, 2})).counts[2] == kMaxCount);

    const auto dict = [](const std::vector<std::pair<std::string, std::string>>& members) {
        return torch_file_of(pickle_of(pickled_dict(members)), {{"0", stored(Integers{1, 2})}});
    };
    check_stat_error(dict({{"logical_count", "K\x05"}}), "logical_count: is no tensor");
    check_stat_error(dict({{"records", "]"}}), "is a dump of passes");
    check_stat_error(dict({{"logical_count", whole_tensor("0", {1, 1, 2})},
                           {"logical_count_layout", pickled_text("rank_layer_expert")}}),
                     "\"logical_count_layout\" is \"rank_layer_expert\"");
    const std::string shares = torch_file_of(
        pickle_of(pickled_dict(
            {{"logical_count", pickled_tensor("DoubleStorage", "0", 2, 0, {1, 1, 2}, {2, 2, 1})}})),
        {{"0", stored(std::vector<double>{3, 0.25})}});
    check_stat_error(shares, "logical_count: 0.250000 at [0, 0, 1] is no integer");
}

TEST_CASE("passes of several ranks become counts per expert and source") {
    const CountTable table = read_sglang_passes(kFixtures / "per_pass", false);
    CHECK(table.layer_rows == LayerRows::decoder_layers);
    CHECK(table.num_layers() == 6);
    CHECK(table.num_experts == 8);
    CHECK(table.ids == IdKind::expert);
    CHECK(table.ep_size == 4);
    CHECK(table.num_sources == 4);
    CHECK_FALSE(table.has_unknown_sources);
    CHECK(table.iter_start == 10);
    CHECK(table.num_iterations == 3);
    const json expected = expected_counts("per_pass");
    CHECK(table.counts == flattened(expected));
    REQUIRE(table.warnings.size() == 1);
    CHECK_STARTS_WITH(table.warnings[0], "counts per slot became counts per expert by the last");

    const CountTable summed = read_sglang_passes(kFixtures / "per_pass", true);
    CHECK(summed.ep_size == 4);
    CHECK(summed.num_sources == 1);
    CHECK_FALSE(summed.has_unknown_sources);
    CHECK(summed.counts == summed_over_ranks(expected));
}

TEST_CASE("dumps of single tokens hold passes too, and ids with gaps are numbered anew") {
    const fs::path folder = kFixtures / "per_token";
    const CountTable table = read_sglang_passes(folder, false);
    CHECK(table.ep_size == 2);
    CHECK(table.num_experts == 8);
    CHECK(table.iter_start == 0);
    CHECK(table.num_iterations == 3);
    CHECK(table.counts == flattened(expected_counts("per_token")));
    CHECK(table.warnings ==
          Strings{"the 3 passes have ids from 3 to 7 with gaps: iterations are numbered from 0"});
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
        CHECK(recognize_sglang_dump(entry.path()) == SglangDump::passes);
}

TEST_CASE("one file of passes is read, where it is rank 0's") {
    const auto file = [](int rank) {
        return kFixtures / "per_pass" /
               ("expert_distribution_recorder_1700000000." + std::to_string(rank) + "5_" +
                std::to_string(rank) + ".pt");
    };
    const CountTable table = read_sglang_passes(file(0), false);
    CHECK(table.ep_size == 1);
    CHECK(table.num_iterations == 3);
    json first_rank = expected_counts("per_pass");
    for (json& iteration : first_rank)
        for (json& layer : iteration)
            layer = json::array({layer[0]});
    CHECK(table.counts == flattened(first_rank));
    REQUIRE(table.warnings.size() == 2);
    CHECK_STARTS_WITH(table.warnings[1], "one file of passes: ranks that wrote others");

    CHECK_STARTS_WITH(error_of([&] { read_sglang_passes(file(1), false); }),
                      file(1).string() + ": rank 0 is missing, while rank 1 is there");
}

TEST_CASE("passes may be spread over files in any way") {
    const Integers map = {0, 1, 1, 0};  // two layers of two slots
    const Integers shape = {2, 2};
    const std::string first = passes_file({{7, 1, {1, 2, 3, 4}}, {6, 0, {5, 6, 7, 8}}}, map, shape);
    const std::string second =
        passes_file({{6, 1, {10, 20, 30, 40}}, {7, 0, {50, 60, 70, 80}}}, map, shape);
    const CountTable table = parse_passes({first, second});
    CHECK(table.iter_start == 6);
    CHECK(table.warnings.empty());
    // by hand: pass, layer, rank, expert; the second layer has its experts the other way round
    CHECK(table.counts == Integers{5, 6, 10, 20, 8, 7, 40, 30, 50, 60, 1, 2, 80, 70, 4, 3});
    const CountTable summed = parse_passes({second, first}, true);
    CHECK(summed.counts == Integers{15, 26, 48, 37, 51, 62, 84, 73});
}

TEST_CASE("faults of passes are told apart") {
    const Integers map = {0, 1};
    const Integers shape = {1, 2};
    const auto file = [&](const std::vector<Record>& records) {
        return passes_file(records, map, shape);
    };
    check_passes_error({file({{1, 0, {1, 2}}}), file({{1, 0, {1, 2}}})},
                       "1.pt: records[0]: forward_pass_id 1, rank 0 is also in 0.pt");
    check_passes_error({file({{1, 0, {1, 2}}, {2, 0, {1, 2}}}), file({{1, 1, {1, 2}}})},
                       "dumps: forward_pass_id 2, rank 1 is missing, while rank 0 has that pass in "
                       "0.pt");
    check_passes_error({file({{2, 0, {1, 2}}}), file({{1, 1, {1, 2}}, {2, 1, {1, 2}}})},
                       "dumps: forward_pass_id 1, rank 0 is missing, while rank 1 has that pass in "
                       "1.pt");
    check_passes_error({file({{1, 0, {1, 2}}}), file({{1, 2, {1, 2}}})},
                       "dumps: rank 1 is missing, while rank 2 is there");
    check_passes_error({file({})}, "0.pt: holds no passes");
    check_passes_error({file({{-1, 0, {1, 2}}})}, "0.pt: records[0]: forward_pass_id is no id");
    check_passes_error({file({{INT64_MAX, 0, {1, 2}}})},
                       "0.pt: records[0]: forward_pass_id is no id");
    check_passes_error({file({{1, -1, {1, 2}}})}, "0.pt: records[0]: rank is no id");
    check_passes_error({file({{1, 1 << 20, {1, 2}}})}, "0.pt: records[0]: rank is no id");
    check_passes_error({file({{1, 0, {1, -2}}})},
                       "0.pt: forward_pass_id 1, rank 0: global_physical_count: count -2 in row 0, "
                       "column 1 is negative");
    check_passes_error(
        {stat_file({1}, {1, 1, 1}), file({{1, 0, {1, 2}}})},
        "0.pt: is a stat dump, which is a recording of its own, among other .pt files; "
        "name it alone, or move it");
    check_passes_error({stat_file({1}, {1, 1, 1})},
                       "0.pt: is a stat dump, one of passes is needed; read it as sglang-stat");
    const CountTable far = parse_passes({file({{0, 0, {1, 2}}, {INT64_MAX - 1, 0, {3, 4}}})});
    CHECK(far.num_iterations == 2);
    CHECK(far.iter_start == 0);
    CHECK(parse_passes({file({{INT64_MAX - 1, 0, {3, 4}}})}).iter_start == INT64_MAX - 1);
}

TEST_CASE("a map that is none is refused") {
    const auto file = [](const Integers& map, const Integers& shape, int rank = 0) {
        return passes_file({{1, rank, Integers(map.size(), 1)}}, map, shape);
    };
    const std::string subject = "last_physical_to_logical_map";
    CHECK(parse_passes({file({1, 0, 1, 0, 0, 1}, {2, 3})}).num_experts == 2);
    check_passes_error({file({0, 2, 2}, {1, 3})},
                       "0.pt: " + subject + ": layer 0 has no slot for expert 1");
    check_passes_error({file({0, 1, 2, 1, 0, 1}, {2, 3})},
                       "0.pt: " + subject + ": layer 1 has no slot for expert 2");
    check_passes_error({file({0, 1, 3}, {1, 3})},
                       "0.pt: " + subject + ": expert 3 cannot be among 3 slots");
    check_passes_error({file({0, -1}, {1, 2})},
                       "0.pt: " + subject + ": expert -1 cannot be among 2 slots");
    check_passes_error({file({0, 1}, {1, 2}), file({1, 0}, {1, 2}, 1)},
                       "1.pt: " + subject + " differs from that in 0.pt");
    check_passes_error({file({0, 1}, {1, 2}), file({0, 1}, {2, 1}, 1)},
                       "1.pt: " + subject + " differs from that in 0.pt");
    check_passes_error({file({0}, {1})}, "0.pt: " + subject + ": the shape is [1]");
    check_passes_error({passes_file({{1, 0, {1}}}, {0}, {1})},
                       "0.pt: " + subject + ": the shape is [1]");
}

TEST_CASE("counts of replicas that add up to too much are refused, not overflowed") {
    const Integers map = {0, 0, 1};
    const std::string large = passes_file({{1, 0, {kMaxCount, 0, 1}}}, map, {1, 3});
    CHECK(parse_passes({large}).counts == Integers{kMaxCount, 1});
    const std::string absurd = passes_file({{1, 0, {kMaxCount, 1, 1}}}, map, {1, 3});
    check_passes_error({absurd},
                       "0.pt: forward_pass_id 1, rank 0: global_physical_count: the tokens of an "
                       "expert in layer 0 add up to an absurd count");
    const std::string other = passes_file({{1, 1, {1, 0, 1}}}, map, {1, 3});
    CHECK(error_of([&] {
              parse_passes({large, other}, true);
          }).find("add up to an absurd count") != std::string::npos);
}

TEST_CASE("records that share one tensor cannot hold more counts than the file has bytes") {
    // a tensor of many slots, kept by "q" and taken again by "h" in each record
    const auto file = [](std::int64_t num_slots, int num_passes) {
        Integers map(static_cast<std::size_t>(num_slots));
        for (std::size_t slot = 0; slot < map.size(); ++slot)
            map[slot] = static_cast<std::int64_t>(slot);
        std::vector<std::string> records;
        for (int pass = 0; pass < num_passes; ++pass)
            records.push_back(pickled_dict(
                {{"forward_pass_id", pickled_integer(pass)},
                 {"rank", pickled_integer(0)},
                 {"global_physical_count",
                  pass == 0 ? whole_tensor("0", {1, num_slots}) + "q\x01" : "h\x01"}}));
        return torch_file_of(pickle_of(pickled_dict({{"records", pickled_list(records)},
                                                     {"last_physical_to_logical_map",
                                                      whole_tensor("0", {1, num_slots})}})),
                             {{"0", stored(map)}});
    };
    CHECK(parse_passes({file(10, 100)}).num_iterations == 100);
    check_passes_error({file(10000, 100)}, "0.pt: its records hold more counts than the file has");
}

TEST_CASE("folders without dumps, and files that are none, are refused") {
    const TemporaryFolder folder;
    CHECK_STARTS_WITH(error_of([&] { read_sglang_passes(folder.path(), false); }),
                      folder.path().string() + ": holds no .pt file");
    CHECK_STARTS_WITH(error_of([&] { read_sglang_stat(folder.path()); }),
                      folder.path().string() + ": holds no .pt file");
    CHECK_STARTS_WITH(error_of([&] { read_sglang_stat(folder / "absent.pt"); }),
                      (folder / "absent.pt").string() + ": cannot open");
    for (const char* const name : {"no_dump.pt", "no_dict.pt"})
        CHECK_STARTS_WITH(error_of([&] { recognize_sglang_dump(kFixtures / name); }),
                          (kFixtures / name).string() + ": has neither \"logical_count\"");
    fs::copy(kFixtures / "per_pass", folder / "dumps");
    fs::copy(kFixtures / "stat.pt", folder / "dumps");
    CHECK_STARTS_WITH(error_of([&] { read_sglang_passes(folder / "dumps", false); }),
                      (folder / "dumps" / "stat.pt").string() + ": is a stat dump");
    fs::remove(folder / "dumps" / "stat.pt");
    write_text(folder / "dumps" / "notes.txt", "no dump");
    CHECK(read_sglang_passes(folder / "dumps", false).ep_size == 4);
}

TEST_CASE("a folder's only dump counts for the folder") {
    const TemporaryFolder folder;
    fs::copy(kFixtures / "stat.pt", folder / "b.pt");
    CHECK(recognize_sglang_dump(folder.path()) == SglangDump::stat);
    CHECK(read_sglang_stat(folder.path()).counts == read_sglang_stat(kFixtures / "stat.pt").counts);
    fs::copy(kFixtures / "stat.pt", folder / "a.pt");
    CHECK(error_of([&] { read_sglang_stat(folder.path()); }) ==
          folder.path().string() + ": holds 2 .pt files; name the stat dump to read, like " +
              (folder / "a.pt").string());
    CHECK(recognize_sglang_dump(folder.path()) == SglangDump::passes);
    CHECK(recognize_sglang_dump(kFixtures / "per_pass") == SglangDump::passes);
}

TEST_CASE("checksums are the reader's matter, not that of recognition") {
    const TemporaryFolder folder;
    std::string content = stat_file({7}, {1, 1, 1});
    const std::size_t place = content.find(std::string("\7\0\0\0\0\0\0\0", 8));
    REQUIRE(place != std::string::npos);
    content[place] = 8;
    write_text(folder / "stat.pt", content);
    CHECK(recognize_sglang_dump(folder / "stat.pt") == SglangDump::stat);
    CHECK(error_of([&] { read_sglang_stat(folder / "stat.pt"); }).find("checksum") !=
          std::string::npos);
}

TEST_CASE("a dump of passes cut off at any byte is an error") {
    const std::string whole = passes_file({{1, 0, {1, 2}}, {2, 0, {3, 4}}}, {1, 0}, {1, 2});
    CHECK(parse_passes({whole}).counts == Integers{2, 1, 4, 3});
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CAPTURE(size);
        check_passes_error({whole.substr(0, size)}, "0.pt: ");
    }
}

}  // namespace eplb::test_sglang_dump
