#include <sys/resource.h>

#include <csignal>
#include <map>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_trtllm_statistics {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace fs = std::filesystem;

namespace {

const fs::path kFixture = test::test_data() / "formats" / "trtllm";

// the rule of tests/data/formats/make_fixtures.py
std::vector<std::int32_t> fixture_ids(int iteration, int layer, int rank) {
    std::vector<std::int32_t> ids;
    for (int token = 0; token < (iteration + rank) % 3 + 1; ++token) {
        const int first = iteration + layer * rank + 3 * token;
        ids.push_back(first % 8);
        ids.push_back((first + 1 + token % 2) % 8);
    }
    return ids;
}

ExpertStatistics fixture_statistics() {
    ExpertStatistics statistics;
    statistics.num_experts = 8;
    statistics.top_k = 2;
    statistics.ep_size = statistics.num_sources = 2;
    statistics.layers = {3, 10};
    statistics.iter_start = 98;
    statistics.num_iterations = 4;
    statistics.allocate();
    for (int iteration = 0; iteration < 4; ++iteration)
        for (int layer = 0; layer < 2; ++layer)
            for (int rank = 0; rank < 2; ++rank)
                for (const int id : fixture_ids(98 + iteration, statistics.layers[layer], rank))
                    ++statistics.row(iteration, layer, rank)[id];
    return statistics;
}

RoutedIds fixture_routed_ids() {
    RoutedIds routed;
    routed.top_k = routed.ep_size = 2;
    routed.layers = {3, 10};
    routed.iter_start = 98;
    routed.num_iterations = 4;
    for (int iteration = 98; iteration < 102; ++iteration)
        for (const int layer : routed.layers)
            for (int rank = 0; rank < 2; ++rank)
                routed.ids.push_back(fixture_ids(iteration, layer, rank));
    return routed;
}

ThreadPool& pool() {
    static ThreadPool threads(2);
    return threads;
}

ExpertStatistics read(const fs::path& folder, const StatisticsSelection& selection = {}) {
    return read_trtllm_statistics(folder, selection, pool());
}

ExpertStatistics sum_of_sources(const ExpertStatistics& statistics) {
    ExpertStatistics sum = statistics;
    sum.num_sources = 1;
    sum.allocate();
    for (int i = 0; i < sum.num_iterations; ++i)
        for (int layer = 0; layer < sum.num_layers(); ++layer)
            for (int source = 0; source < statistics.num_sources; ++source)
                for (std::size_t e = 0; e < static_cast<std::size_t>(sum.num_experts); ++e)
                    sum.row(i, layer, 0)[e] += statistics.row(i, layer, source)[e];
    return sum;
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

// A folder of two ranks, two experts, iterations 5 and 6, layers 0 and 1, to be spoiled.
class SmallFolder {
  public:
    using Tensors = std::map<std::string, std::vector<std::int64_t>>;

    SmallFolder() {
        const Tensors tensors = {
            {"5_0", {1, 3}}, {"5_1", {2, 2}}, {"6_0", {4, 0}}, {"6_1", {0, 4}}};
        ranks = {tensors, tensors};
        meta(R"({"num_experts": 2, "num_experts_per_token": 1})");
    }

    void meta(const std::string& text) { write_text(folder / "meta_info.json", text); }
    std::string path(const std::string& name) const { return (folder / name).string(); }

    void write_rank(const std::string& name,
                    const Tensors& tensors,
                    const std::string& dtype = "I64") const {
        std::vector<TensorToWrite> list;
        for (const auto& [key, counts] : tensors) {
            const auto size = static_cast<std::int64_t>(counts.size() * 8 / dtype_size(dtype));
            list.push_back({key, dtype, {size}, std::as_bytes(std::span(counts))});
        }
        OutputFile output((folder / name).string());
        write_safetensors(output, list);
        output.commit();
    }

    void write_ranks() const {
        for (std::size_t rank = 0; rank < ranks.size(); ++rank)
            write_rank("rank" + std::to_string(rank) + ".safetensors", ranks[rank]);
    }

    // of the folder as it is, with `text` as its meta file
    std::string error_with_meta(const std::string& text) {
        meta(text);
        return error();
    }
    std::string error() const {
        return error_of([&] { read(folder.path()); });
    }
    // with the ranks written before
    std::string error_of_ranks() const {
        write_ranks();
        return error();
    }

    TemporaryFolder folder;
    std::vector<Tensors> ranks;
};

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

#define CHECK_CONTAINS(text, part)  \
    do {                            \
        const std::string t = text; \
        CAPTURE(t);                 \
        CHECK(contains(t, part));   \
    } while (false)

TEST_CASE("a folder written with the packages that define the format is read") {
    CHECK(read(kFixture) == fixture_statistics());
    CHECK(read(kFixture, {{}, {}, true}) == sum_of_sources(fixture_statistics()));
}

TEST_CASE("routed ids written with the packages that define the format are read") {
    CHECK(read_trtllm_routed_ids(kFixture, fixture_statistics()) == fixture_routed_ids());
}

TEST_CASE("a written folder's tensors equal those of the packages byte by byte") {
    const TemporaryFolder folder;
    TrtllmStatisticsFolder output(folder / "stats");
    const RoutedIds routed = fixture_routed_ids();
    output.write(fixture_statistics(), &routed);
    CHECK(names_in(folder / "stats") == names_in(kFixture));
    for (const std::string& name : names_in(kFixture)) {
        CAPTURE(name);
        if (name != "meta_info.json")
            CHECK(read_text(folder / "stats" / name) == read_text(kFixture / name));
    }
    // what upstream writes, and then what it ignores
    const std::string meta = read_text(kFixture / "meta_info.json");
    CHECK(read_text(folder / "stats" / "meta_info.json") ==
          meta.substr(0, meta.size() - 1) + ", \"ep_size\": 2}");
}

TEST_CASE("a lost last rank is noticed where the folder says how many there were") {
    const TemporaryFolder folder;
    TrtllmStatisticsFolder(folder / "stats").write(fixture_statistics(), nullptr);
    std::filesystem::remove(folder / "stats" / "rank1.safetensors");
    const std::string error = error_of([&] { read(folder / "stats"); });
    CHECK(contains(error, "ep_size"));
    CHECK(contains(error, "meta_info.json"));
}

TEST_CASE(
    "a folder that holds what would be taken for a rank is refused before anything is written") {
    const TemporaryFolder folder;
    TrtllmStatisticsFolder(folder / "stats").write(fixture_statistics(), nullptr);
    std::filesystem::create_directory(folder / "stats" / "rank9.safetensors");
    CHECK(contains(error_of([&] { TrtllmStatisticsFolder output(folder / "stats"); }),
                   "rank9.safetensors: stands among the files to be written"));
    std::filesystem::remove(folder / "stats" / "rank9.safetensors");
    CHECK(read(folder / "stats") == fixture_statistics());
}

TEST_CASE("an iteration range selects those iterations, counts and ids alike") {
    const ExpertStatistics all = fixture_statistics();
    for (const bool sum_sources : {false, true})
        for (int start = 98; start < 102; ++start)
            for (int stop = start + 1; stop <= 102; ++stop) {
                const ExpertStatistics part = read(kFixture, {start, stop, sum_sources});
                CHECK(part.iter_start == start);
                REQUIRE(part.iter_stop() == stop);
                const ExpertStatistics expected = sum_sources ? sum_of_sources(all) : all;
                for (int i = 0; i < part.num_iterations; ++i)
                    for (int layer = 0; layer < 2; ++layer)
                        for (int source = 0; source < part.num_sources; ++source) {
                            const auto ours = part.row(i, layer, source);
                            const auto theirs = expected.row(i + start - 98, layer, source);
                            CHECK(
                                std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end()));
                        }
                if (!sum_sources) {
                    const auto routed = read_trtllm_routed_ids(kFixture, part);
                    REQUIRE(routed);
                    CHECK(routed->cell(0, 1, 1) == fixture_ids(start, 10, 1));
                }
            }
}

TEST_CASE("a range outside the data says what exists") {
    for (const auto& [start, stop] : {std::pair(97, 100), {98, 103}, {100, 100}, {101, 99}}) {
        const std::string error = error_of([&, from = start, to = stop] {
            read(kFixture, {from, to, false});
        });
        CHECK(error.starts_with(kFixture.string() + ": "));
        CHECK(contains(error, std::to_string(start) + "-" + std::to_string(stop)));
        CHECK(contains(error, "holds iterations 98-102 (half open)"));
    }
}

TEST_CASE("what is written is read again, whatever the shape") {
    for (const int ep_size : {1, 3})
        for (const int num_iterations : {1, 12})
            for (const IdKind ids : {IdKind::expert, IdKind::slot}) {
                ExpertStatistics statistics;
                statistics.num_experts = 5;
                statistics.top_k = 3;
                statistics.ep_size = statistics.num_sources = ep_size;
                statistics.layers = {0, 7, 12, 100};
                statistics.iter_start = 95;
                statistics.num_iterations = num_iterations;
                statistics.ids = ids;
                statistics.layer_updates_per_iter = ids == IdKind::slot ? 2 : 0;
                statistics.allocate();
                std::iota(statistics.counts.begin(), statistics.counts.end(), 0);
                const TemporaryFolder folder;
                TrtllmStatisticsFolder(folder.path()).write(statistics, nullptr);
                CHECK(read(folder.path()) == statistics);
                CHECK(read(folder.path(), {{}, {}, true}) == sum_of_sources(statistics));
                CHECK_FALSE(read_trtllm_routed_ids(folder.path(), statistics));
            }
}

TEST_CASE("tensors in any order and of both dtypes are read") {
    SmallFolder small;
    small.write_ranks();
    // rank 1 the other way round: I32 and the data backwards
    const std::string header = R"({"5_0":{"dtype":"I32","shape":[2],"data_offsets":[24,32]},)"
                               R"("6_1":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},)"
                               R"("6_0":{"dtype":"I32","shape":[2],"data_offsets":[16,24]},)"
                               R"("5_1":{"dtype":"I32","shape":[2],"data_offsets":[8,16]}})";
    std::string data;
    for (const char value : {'\0', '\4', '\2', '\2', '\4', '\0', '\1', '\3'})
        data += std::string{value, 0, 0, 0};
    std::string length(8, '\0');
    length[0] = static_cast<char>(header.size() & 0xff);
    length[1] = static_cast<char>(header.size() >> 8);
    write_text(small.folder / "rank1.safetensors", length + header + data);
    CHECK(read(small.folder.path()).counts ==
          std::vector<std::int64_t>{1, 3, 1, 3, 2, 2, 2, 2, 4, 0, 4, 0, 0, 4, 0, 4});
    CHECK(read(small.folder.path(), {{}, {}, true}).counts ==
          std::vector<std::int64_t>{2, 6, 4, 4, 8, 0, 0, 8});
}

TEST_CASE("pairs of another recorder beside the counts are passed over") {
    SmallFolder small;
    small.write_ranks();
    write_text(small.folder / "cooccurrence_rank0.safetensors", "anything");
    CHECK(small.error() == "");
    CHECK_FALSE(read_trtllm_routed_ids(small.folder.path(), read(small.folder.path())));
}

TEST_CASE("a folder that is none, or is unfinished, is refused") {
    const TemporaryFolder folder;
    const auto error = [](const fs::path& path) { return error_of([&] { read(path); }); };
    CHECK_CONTAINS(error(folder / "absent"), (folder / "absent").string() + ": no such folder");
    write_text(folder / "file", "");
    CHECK_CONTAINS(error(folder / "file"), "is no folder");
    const std::string meta = (folder / "meta_info.json").string();
    CHECK_CONTAINS(error(folder.path()), meta + ": is missing: the recording is unfinished");
    write_text(folder / "meta_info.json", R"({"num_experts": 2, "num_experts_per_token": 1})");
    CHECK_CONTAINS(error(folder.path()), folder.path().string() + ": holds no rank0.safetensors");
}

TEST_CASE("each fault of meta_info.json is refused with file and key") {
    SmallFolder small;
    small.write_ranks();
    const std::string file = small.path("meta_info.json") + ": ";
    const auto check = [&](const std::string& text, const std::string& fault) {
        CHECK_CONTAINS(small.error_with_meta(text), file + fault);
    };
    check("null", "is null: the recorder's iteration range was empty");
    check("", "no valid JSON at byte 1");
    check("{", "no valid JSON");
    check(R"({"num_experts": 1e999})", "holds a number too large for any reader");
    check(R"({"num_experts": 2, "num_experts": 3})", R"(key "num_experts": stands there twice)");
    check("[]", "must be an object");
    check("{}", R"(key "num_experts": is missing)");
    check(R"({"num_experts": 2})", R"(key "num_experts_per_token": is missing)");
    check(R"({"num_experts": "2", "num_experts_per_token": 1})", R"(key "num_experts": must be)");
    check(R"({"num_experts": 2.0, "num_experts_per_token": 1})", R"(key "num_experts": must be)");
    check(R"({"num_experts": 0, "num_experts_per_token": 1})", R"(key "num_experts": must be)");
    check(R"({"num_experts": 99999999999, "num_experts_per_token": 1})", "key \"num_ex");
    check(R"({"num_experts": 18446744073709551615, "num_experts_per_token": 1})", "key \"num_ex");
    check(R"({"num_experts": 2, "num_experts_per_token": 3})", "key \"num_experts_per_token\": ");
    check(R"({"num_experts": 2, "num_experts_per_token": 1, "ids": "both"})", R"(key "ids": )");
    check(R"({"num_experts": 2, "num_experts_per_token": 1, "ids": 1})", R"(key "ids": must be)");
    check(R"({"num_experts": 2, "num_experts_per_token": 1, "layer_updates_per_iter": -1})",
          R"(key "layer_updates_per_iter": must be)");
    check(R"({"num_experts": 2, "num_experts_per_token": 1, "ep_size": 4})",
          R"(key "ep_size": 4, but the folder holds 2 rank files; copy the missing)");
    CHECK(small.error_with_meta(
              R"({"num_experts": 2, "num_experts_per_token": 1, "ep_size": 2, "other": []})") ==
          "");
}

TEST_CASE("counts of another length than num_experts are refused") {
    SmallFolder small;
    small.write_ranks();
    CHECK_CONTAINS(
        small.error_with_meta(R"({"num_experts": 3, "num_experts_per_token": 1})"),
        small.path("rank0.safetensors") +
            R"(: key "5_0": 2 counts where meta_info.json says num_experts 3: the files are of )"
            "different runs; record again");
}

TEST_CASE("a missing rank is refused") {
    SmallFolder small;
    small.write_ranks();
    fs::rename(small.folder / "rank0.safetensors", small.folder / "rank2.safetensors");
    CHECK_CONTAINS(small.error(), small.path("rank0.safetensors") + ": is missing, while rank1");
    fs::rename(small.folder / "rank1.safetensors", small.folder / "rank0.safetensors");
    CHECK_CONTAINS(small.error(),
                   small.path("rank1.safetensors") +
                       ": is missing, while rank2.safetensors is there; copy all ranks");
}

TEST_CASE("a file that upstream would take for a rank is refused") {
    for (const char* const name :
         {"rank02.safetensors", "rank.safetensors", "rank0 (copy).safetensors",
          "rank-1.safetensors", "rank99999999999.safetensors"}) {
        SmallFolder small;
        small.write_ranks();
        small.write_rank(name, small.ranks[0]);
        CHECK_CONTAINS(small.error(), small.path(name) + ": is not named after a rank; move it");
    }
}

TEST_CASE("keys that only some ranks have are refused with both files") {
    for (const std::size_t rank : {0, 1})
        for (const char* const key : {"5_0", "5_1", "6_0", "6_1"}) {
            SmallFolder small;
            small.ranks[rank].erase(key);
            const std::string error = small.error_of_ranks();
            CAPTURE(error);
            CHECK(error.starts_with(small.path("rank" + std::to_string(rank) + ".safetensors") +
                                    ": key \"" + key + "\": is missing, while " +
                                    small.path("rank" + std::to_string(1 - rank) + ".safetensors") +
                                    " has it"));
            CHECK(contains(error, "remove the stale files"));
        }
    SmallFolder small;
    small.ranks[1] = {{"7_0", {1, 3}}, {"7_1", {1, 3}}};
    CHECK_CONTAINS(small.error_of_ranks(), "remove the stale files or record again");
}

TEST_CASE("a gap in the iterations is refused") {
    SmallFolder small;
    for (auto& rank : small.ranks)
        for (const char* const key : {"9_0", "9_1"})
            rank[key] = {1, 3};
    CHECK_CONTAINS(small.error_of_ranks(),
                   small.path("rank0.safetensors") + ": iteration 7 is missing between 6 and 9");
}

TEST_CASE("a layer missing in an iteration is refused") {
    for (const char* const key : {"5_0", "5_1", "6_0", "6_1"}) {
        SmallFolder small;
        for (auto& rank : small.ranks)
            rank.erase(key);
        CHECK_CONTAINS(small.error_of_ranks(), small.path("rank0.safetensors") + ": key \"" + key +
                                                   "\": is missing, while");
    }
}

TEST_CASE("keys that are not iteration and layer are refused") {
    for (const char* const key :
         {"", "_", "5", "5_", "_5", "05_1", "5_01", "-5_1", "5_-1", "+5_1", " 5_1", "5_1 ", "5_1_1",
          "5_x", "5.0_1", "9223372036854775808_1", "9223372036854775807_1", "5_2147483648"}) {
        SmallFolder small;
        for (auto& rank : small.ranks)
            rank[key] = {1, 3};
        CHECK_CONTAINS(small.error_of_ranks(), small.path("rank0.safetensors") + ": key \"" + key +
                                                   "\": is no \"{iteration}_{layer}\"");
    }
}

TEST_CASE("counts of a wrong dtype, shape or value are refused") {
    SmallFolder small;
    small.write_ranks();
    const std::string file = small.path("rank1.safetensors");
    small.write_rank("rank1.safetensors", small.ranks[1], "F64");
    CHECK_CONTAINS(small.error(), file + R"(: key "5_0": dtype F64, counts are I64 or I32)");
    small.write_rank("rank1.safetensors", small.ranks[1], "I32");
    CHECK_CONTAINS(small.error(), file + R"(: key "5_0": 4 counts where meta_info.json says)");
    for (const auto& [count, word] : {std::pair<std::int64_t, const char*>(-1, "negative"),
                                      {INT64_MIN, "negative"},
                                      {kMaxCount + 1, "absurd"},
                                      {INT64_MAX, "absurd"}}) {
        SmallFolder::Tensors tensors = small.ranks[1];
        tensors["6_1"][1] = count;
        small.write_rank("rank1.safetensors", tensors);
        CHECK_CONTAINS(small.error(), file + ": key \"6_1\": count " + std::to_string(count) +
                                          " at position 1 is " + word +
                                          ": the file is damaged; copy it again");
    }
    SmallFolder::Tensors tensors = small.ranks[1];
    tensors["6_1"][1] = kMaxCount;
    small.write_rank("rank1.safetensors", tensors);
    CHECK(read(small.folder.path()).counts.back() == kMaxCount);
}

TEST_CASE("rank files without tensors are refused") {
    SmallFolder small;
    small.ranks = {{}, {}};
    CHECK_CONTAINS(small.error_of_ranks(),
                   small.path("rank0.safetensors") + ": holds no iteration: the recorder's range");
}

TEST_CASE("any file of a folder cut off at any byte is refused") {
    const TemporaryFolder folder;
    fs::copy(kFixture, folder / "stats");
    const ExpertStatistics statistics = read(folder / "stats");
    for (const std::string& name : names_in(kFixture)) {
        const std::string whole = read_text(kFixture / name);
        for (std::size_t size = 0; size < whole.size(); ++size) {
            CAPTURE(name, size);
            write_text(folder / "stats" / name, whole.substr(0, size));
            const std::string error = error_of([&] {
                read(folder / "stats");
                read_trtllm_routed_ids(folder / "stats", statistics);
            });
            CHECK(error.starts_with((folder / "stats" / name).string() + ": "));
        }
        write_text(folder / "stats" / name, whole);
    }
}

TEST_CASE("routed ids that do not belong to the counts are refused") {
    const TemporaryFolder temporary;
    const fs::path folder = temporary / "stats";
    const ExpertStatistics statistics = fixture_statistics();
    const auto error_with = [&](const std::function<void(RoutedIds&)>& spoil) {
        RoutedIds routed = fixture_routed_ids();
        spoil(routed);
        TrtllmStatisticsFolder(folder).write(statistics, &routed);
        return error_of([&] { read_trtllm_routed_ids(folder, statistics); });
    };
    const std::string rank1 = (folder / "token_selected_experts_rank1.safetensors").string();
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.cell(2, 1, 1)[0] = 8; }),
                   rank1 + R"(: key "100_10": id 8 at position 0 is outside [-1, 8))");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.cell(2, 1, 1)[0] = -2; }),
                   rank1 + R"(: key "100_10": id -2 at position 0 is outside [-1, 8))");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.cell(2, 1, 1)[0] = -1; }),
                   rank1 + R"(: key "100_10": id )");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.cell(2, 1, 1).resize(2); }),
                   "remove the token_selected_experts files");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.layers[1] = 11; }),
                   "the routed ids have other layers than the counts");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.iter_start = 99; }),
                   "the routed ids have iterations 99 to 102, the counts 98 to 101");
    CHECK_CONTAINS(error_with([](RoutedIds& routed) { routed.top_k = 1; }),
                   "the shape must be [num_tokens, 2]");
    fs::remove(folder / "token_selected_experts_rank1.safetensors");
    CHECK_CONTAINS(error_of([&] { read_trtllm_routed_ids(folder, statistics); }),
                   "the routed ids are of 1 ranks, the counts of 2");
}

TEST_CASE("tokens without an expert are kept in the ids and not counted") {
    const TemporaryFolder folder;
    ExpertStatistics statistics = fixture_statistics();
    RoutedIds routed = fixture_routed_ids();
    std::int32_t& id = routed.cell(0, 0, 0)[0];
    --statistics.row(0, 0, 0)[id];
    id = -1;
    TrtllmStatisticsFolder(folder.path()).write(statistics, &routed);
    CHECK(read_trtllm_routed_ids(folder.path(), statistics) == routed);
}

TEST_CASE("files of a larger earlier run are removed") {
    const TemporaryFolder folder;
    TrtllmStatisticsFolder output(folder.path());
    for (const char* const name :
         {"rank2.safetensors", "rank10.safetensors", "token_selected_experts_rank0.safetensors",
          "token_selected_experts_rank7.safetensors"})
        write_text(folder / name, "stale");
    write_text(folder / "notes.txt", "not ours");
    output.write(fixture_statistics(), nullptr);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"meta_info.json", "notes.txt",
                                                              "rank0.safetensors",
                                                              "rank1.safetensors"});
    CHECK(read(folder.path()) == fixture_statistics());
}

TEST_CASE("a folder that cannot be written fails before the work starts") {
    const TemporaryFolder folder;
    write_text(folder / "file", "");
    const auto error = [](const fs::path& path) {
        return error_of([&] { TrtllmStatisticsFolder{path}; });
    };
    CHECK_CONTAINS(error(folder / "file"), "is no folder; name a folder to write");
    CHECK_CONTAINS(error(folder / "file" / "below"), "cannot create the folder");
    fs::create_directories(folder / "odd" / "meta_info.json");
    CHECK_CONTAINS(error(folder / "odd"), "meta_info.json: is a folder");
}

TEST_CASE("folders that were made for nothing go away again") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "old");
    {
        const TrtllmStatisticsFolder one(folder / "new" / "newer");
        const TrtllmStatisticsFolder two(folder / "old");
        const TrtllmStatisticsFolder three(folder / "slash/");
        CHECK(fs::is_directory(folder / "new" / "newer"));
    }
    CHECK(names_in(folder.path()) == std::vector<std::string>{"old"});
}

TEST_CASE("a full disk leaves the old statistics and no other file") {
    const TemporaryFolder folder;
    TrtllmStatisticsFolder output(folder.path());
    output.write(fixture_statistics(), nullptr);
    const std::vector<std::string> names = names_in(folder.path());

    // a limit on the size of files fails write(2) just as a full disk does
    ExpertStatistics larger = fixture_statistics();
    larger.num_iterations = 100;
    larger.allocate();
    struct rlimit old_limit = {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
    struct rlimit limit = old_limit;
    limit.rlim_cur = 4096;
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const std::string error = error_of([&] { output.write(larger, nullptr); });
    ::setrlimit(RLIMIT_FSIZE, &old_limit);
    std::signal(SIGXFSZ, old_handler);

    CHECK_CONTAINS(error, "rank0.safetensors: cannot write");
    CHECK(names_in(folder.path()) == names);
    CHECK(read(folder.path()) == fixture_statistics());
}

TEST_CASE("a meta file behind a link is replaced behind the link") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "stats");
    write_text(folder / "meta", "old");
    fs::create_symlink("../meta", folder / "stats" / "meta_info.json");
    TrtllmStatisticsFolder(folder / "stats").write(fixture_statistics(), nullptr);
    CHECK(fs::is_symlink(folder / "stats" / "meta_info.json"));
    CHECK(read(folder / "stats") == fixture_statistics());
}

TEST_CASE("real routing: every rank counts its 32 tokens six times and the ids agree") {
    const fs::path data = test::real_data();
    if (data.empty() || !fs::is_directory(data / "deepseek-v2-lite"))
        return;
    for (const char* const name : {"intent", "summary"}) {
        const fs::path folder = data / "deepseek-v2-lite" / name;
        const ExpertStatistics statistics = read(folder);
        CHECK(statistics.num_experts == 64);
        CHECK(statistics.top_k == 6);
        CHECK(statistics.ep_size == 8);
        CHECK(statistics.num_layers() == 26);
        CHECK(statistics.iter_start == 100);
        int num_wrong = 0;
        for (int i = 0; i < statistics.num_iterations; ++i)
            for (int layer = 0; layer < 26; ++layer)
                for (int source = 0; source < 8; ++source) {
                    const auto row = statistics.row(i, layer, source);
                    num_wrong += std::accumulate(row.begin(), row.end(), std::int64_t{0}) != 32 * 6;
                }
        CHECK(num_wrong == 0);
        CHECK(read(folder, {{}, {}, true}) == sum_of_sources(statistics));
        const auto routed = read_trtllm_routed_ids(folder, statistics);
        REQUIRE(routed);
        CHECK(routed->cell(0, 0, 0).size() == 32 * 6);
    }
}

}  // namespace eplb::test_trtllm_statistics
