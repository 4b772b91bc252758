// What the variants of TensorRT-LLM's recorder leave in a statistics folder besides the counts.
#include <algorithm>
#include <map>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "lib/formats/statistics/trtllm_cooccurrence.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_trtllm_variants {

using eplb::test::error_of;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace fs = std::filesystem;

namespace {

const fs::path kFixture = test::test_data() / "formats" / "trtllm";

ThreadPool& pool() {
    static ThreadPool threads(2);
    return threads;
}

ExpertStatistics read(const fs::path& folder, bool sum_sources = false) {
    return read_trtllm_statistics(folder, {{}, {}, sum_sources}, pool());
}

void write_tensors(const fs::path& path,
                   const std::string& dtype,
                   const std::vector<std::int64_t>& shape,
                   const std::map<std::string, std::vector<std::byte>>& tensors) {
    std::vector<TensorToWrite> list;
    for (const auto& [key, bytes] : tensors)
        list.push_back({key, dtype, shape, bytes});
    OutputFile output(path.string());
    write_safetensors(output, list);
    output.commit();
}

template <typename Integer>
std::vector<std::byte> bytes_of(const std::vector<Integer>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return {bytes.begin(), bytes.end()};
}

// Two ranks, three experts, top_k 2, iteration 5, layers 3 and 4. Rank 0 has two tokens, with
// experts 0 1 and 1 2, rank 1 has one, with experts 2 0; the same in both layers.
class SmallFolder {
  public:
    SmallFolder() {
        meta("");
        counts(0, {1, 2, 1});
        counts(1, {1, 0, 1});
    }

    void meta(const std::string& more) const {
        write_text(folder / "meta_info.json",
                   R"({"num_experts": 3, "num_experts_per_token": 2)" + more + "}");
    }
    void counts(int rank, const std::vector<std::int64_t>& row) const {
        write_tensors(path(rank, ".safetensors"), "I64", {3},
                      {{"5_3", bytes_of(row)}, {"5_4", bytes_of(row)}});
    }
    template <typename Integer>
    void raw(int rank, const std::vector<Integer>& ids) const {
        write_tensors(path(rank, "_raw.safetensors"), sizeof(Integer) == 8 ? "I64" : "I32",
                      {static_cast<std::int64_t>(ids.size() / 2), 2},
                      {{"5_3", bytes_of(ids)}, {"5_4", bytes_of(ids)}});
    }
    void num_tokens(int rank, const std::string& text) const {
        write_text(path(rank, "_numtokens.json"), text);
    }

    fs::path path(int rank, const std::string& suffix) const {
        return folder / ("rank" + std::to_string(rank) + suffix);
    }
    std::string error() const {
        return error_of([&] { read(folder.path()); });
    }
    std::string error_of_ids() const {
        return error_of([&] { read_trtllm_routed_ids(folder.path(), read(folder.path())); });
    }

    TemporaryFolder folder;
};

using Ids = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("raw files of the packages that define the format are the routed ids") {
    const TemporaryFolder folder;
    fs::copy(kFixture, folder / "stats");
    for (const char* const rank : {"0", "1"})
        fs::rename(
            folder / "stats" / ("token_selected_experts_rank" + std::string(rank) + ".safetensors"),
            folder / "stats" / ("rank" + std::string(rank) + "_raw.safetensors"));
    CHECK(has_trtllm_routed_ids(folder / "stats"));
    const ExpertStatistics statistics = read(folder / "stats");
    CHECK(statistics == read(kFixture));
    const auto routed = read_trtllm_routed_ids(folder / "stats", statistics);
    REQUIRE(routed);
    CHECK(routed == read_trtllm_routed_ids(kFixture, statistics));
    CHECK_FALSE(find_incomplete_routed_ids(folder / "stats", statistics));
}

TEST_CASE("raw ids of both dtypes are read") {
    SmallFolder small;
    small.raw<std::int32_t>(0, {0, 1, 1, 2});
    small.raw<std::int64_t>(1, {2, 0});
    const auto routed = read_trtllm_routed_ids(small.folder.path(), read(small.folder.path()));
    REQUIRE(routed);
    for (const int layer : {0, 1}) {
        CHECK(routed->cell(0, layer, 0) == Ids{0, 1, 1, 2});
        CHECK(routed->cell(0, layer, 1) == Ids{2, 0});
    }
    ThreadPool alone(1);
    const auto pairs = read_trtllm_cooccurrence(small.folder.path(), {}, alone);
    REQUIRE(pairs);
    const auto matrix = pairs->matrix(1);
    CHECK(std::vector<std::int64_t>(matrix.begin(), matrix.end()) ==
          std::vector<std::int64_t>{2, 1, 1, 1, 2, 1, 1, 1, 2});
}

TEST_CASE("token_selected_experts files are taken before raw ones") {
    SmallFolder small;
    write_text(small.path(0, "_raw.safetensors"), "no safetensors");
    for (const int rank : {0, 1})
        write_tensors(
            small.folder / ("token_selected_experts_rank" + std::to_string(rank) + ".safetensors"),
            "I32", {2 - rank, 2},
            {{"5_3", bytes_of(rank == 0 ? Ids{0, 1, 1, 2} : Ids{2, 0})},
             {"5_4", bytes_of(rank == 0 ? Ids{0, 1, 1, 2} : Ids{2, 0})}});
    const auto routed = read_trtllm_routed_ids(small.folder.path(), read(small.folder.path()));
    REQUIRE(routed);
    CHECK(routed->cell(0, 1, 0) == Ids{0, 1, 1, 2});
    CHECK_FALSE(find_incomplete_routed_ids(small.folder.path(), read(small.folder.path())));
}

TEST_CASE("raw ids of the last chunk alone are not used, and it is said") {
    SmallFolder small;
    small.raw<std::int32_t>(0, {1, 2});  // the second of two chunks
    small.raw<std::int32_t>(1, {2, 0});
    const fs::path& folder = small.folder.path();
    for (const bool sum_sources : {false, true}) {
        CAPTURE(sum_sources);
        const ExpertStatistics statistics = read(folder, sum_sources);
        CHECK(total_counts(statistics, 0) == std::vector<std::int64_t>{2, 2, 2});
        const std::string expected =
            sum_sources ? folder.string() + ": key \"5_3\": holds 4 ids where 6 were counted: "
                        : small.path(0, "_raw.safetensors").string() +
                              ": key \"5_3\": holds 2 ids where 4 were counted: the recorder kept";
        const auto incomplete = find_incomplete_routed_ids(folder, statistics);
        REQUIRE(incomplete);
        CHECK_STARTS_WITH(*incomplete, expected);
        CHECK_STARTS_WITH(error_of([&] {
                              visit_trtllm_routed_ids(folder, statistics, pool(),
                                                      [](auto, auto, auto, auto) {});
                          }),
                          expected);
    }
    CHECK_FALSE(read_trtllm_routed_ids(folder, read(folder)));
    CHECK_STARTS_WITH(error_of([&] { read_trtllm_cooccurrence(folder, {}, pool()); }),
                      small.path(0, "_raw.safetensors").string() + ": key \"5_3\": holds 2 ids");
}

TEST_CASE("pairs are taken from their own files where raw ids are incomplete") {
    SmallFolder small;
    small.raw<std::int32_t>(0, {1, 2});
    small.raw<std::int32_t>(1, {2, 0});
    const std::vector<std::int32_t> pairs[] = {{1, 1, 0, 1, 2, 1, 0, 1, 1},
                                               {1, 0, 1, 0, 0, 0, 1, 0, 1}};
    for (const int rank : {0, 1})
        write_tensors(small.folder / ("cooccurrence_rank" + std::to_string(rank) + ".safetensors"),
                      "I32", {3, 3},
                      {{"5_3", bytes_of(pairs[rank])}, {"5_4", bytes_of(pairs[rank])}});
    const auto read_pairs = read_trtllm_cooccurrence(small.folder.path(), {}, pool());
    REQUIRE(read_pairs);
    const auto matrix = read_pairs->matrix(0);
    CHECK(std::vector<std::int64_t>(matrix.begin(), matrix.end()) ==
          std::vector<std::int64_t>{2, 1, 1, 1, 2, 1, 1, 1, 2});
}

TEST_CASE("raw ids that do not belong to the counts are refused") {
    SmallFolder small;
    const std::string rank0 = small.path(0, "_raw.safetensors").string();
    small.raw<std::int32_t>(1, {2, 0});
    small.raw<std::int32_t>(0, {0, 1, 0, 2});
    const std::string error = small.error_of_ids();
    CHECK_STARTS_WITH(error, rank0 + ": key \"5_3\": id 0 stands there 2 times, the rank file");
    CHECK(error.ends_with("remove the raw files"));
    small.raw<std::int32_t>(0, {0, 1, 1, 3});
    CHECK_STARTS_WITH(small.error_of_ids(), rank0 + ": key \"5_3\": id 3 at position 3 is outside");
    small.raw<std::int64_t>(0, {0, 1, 1, INT64_C(1) << 32});
    CHECK_STARTS_WITH(small.error_of_ids(), rank0 + ": key \"5_3\": id 4294967296 at position 3");
    write_tensors(rank0, "I32", {4, 1},
                  {{"5_3", bytes_of(Ids{0, 1, 1, 2})}, {"5_4", bytes_of(Ids{0, 1, 1, 2})}});
    CHECK_STARTS_WITH(small.error_of_ids(),
                      rank0 + ": key \"5_3\": the shape must be [num_tokens, 2]");
    write_tensors(rank0, "F32", {2, 2},
                  {{"5_3", bytes_of(Ids{0, 1, 1, 2})}, {"5_4", bytes_of(Ids{0, 1, 1, 2})}});
    CHECK_STARTS_WITH(small.error_of_ids(), rank0 + ": key \"5_3\": dtype F32, ids are I32");
    write_tensors(rank0, "I32", {2, 2}, {{"5_3", bytes_of(Ids{0, 1, 1, 2})}});
    CHECK_STARTS_WITH(small.error_of_ids(), rank0 + ": key \"5_4\": is missing, while ");
    fs::remove(rank0);
    CHECK_STARTS_WITH(small.error_of_ids(), rank0 + ": is missing, while rank1_raw.safetensors");
    fs::rename(small.path(1, "_raw.safetensors"), rank0);
    CHECK_STARTS_WITH(small.error_of_ids(),
                      rank0 + ": the routed ids are of 1 ranks, the counts of 2");
    CHECK(small.error() == "");  // the counts stand for themselves
}

// the rule of tests/data/formats/make_fixtures.py: (iteration + rank) % 3 + 1 tokens
TEST_CASE("numbers of tokens that are those of the counts are accepted") {
    const TemporaryFolder folder;
    fs::copy(kFixture, folder / "stats");
    const ExpertStatistics expected = read(kFixture);
    write_text(folder / "stats" / "rank0_numtokens.json",
               R"({"98_3": 3, "98_10": 3, "99_3": 1, "99_10": 1, "100_3": 2, "100_10": 2,
                   "101_3": 3, "101_10": 3})");
    write_text(folder / "stats" / "rank1_numtokens.json",
               R"({"98_3": 1, "98_10": 1, "99_3": 2, "99_10": 2, "100_3": 3, "100_10": 3,
                   "101_3": 1, "101_10": 1})");
    CHECK(read(folder / "stats") == expected);
    CHECK(read(folder / "stats", true) == read(kFixture, true));
    // 101 is wrong from here on, which those who do not select it are not told
    write_text(folder / "stats" / "rank1_numtokens.json",
               R"({"98_3": 1, "98_10": 1, "99_3": 2, "99_10": 2, "100_3": 3, "100_10": 3,
                   "101_3": 1, "101_10": 2})");
    CHECK_STARTS_WITH(error_of([&] { read(folder / "stats", true); }),
                      (folder / "stats" / "rank1_numtokens.json").string() +
                          ": key \"101_10\": 2 tokens with 2 experts each, but ");
    CHECK(read_trtllm_statistics(folder / "stats", {98, 101, false}, pool()) ==
          read_trtllm_statistics(kFixture, {98, 101, false}, pool()));
}

TEST_CASE("each fault of numbers of tokens is refused with file and key") {
    SmallFolder small;
    const std::string good = R"({"5_3": 2, "5_4": 2})";
    small.num_tokens(1, R"({"5_3": 1, "5_4": 1})");
    const std::string file = small.path(0, "_numtokens.json").string() + ": ";
    const auto check = [&](const std::string& text, const std::string& fault) {
        small.num_tokens(0, text);
        CHECK_STARTS_WITH(small.error(), file + fault);
    };
    small.num_tokens(0, good);
    CHECK(small.error() == "");
    check(R"({"5_3": 2, "5_4": 3})", R"(key "5_4": 3 tokens with 2 experts each, but )");
    check(R"({"5_3": 0, "5_4": 2})", R"(key "5_3": 0 tokens with 2 experts each, but )");
    check(R"({"5_3": 1099511627775, "5_4": 2})", R"(key "5_3": 1099511627775 tokens with)");
    check(R"({"5_3": 1099511627776, "5_4": 2})", R"(key "5_3": must be a number of tokens)");
    check(R"({"5_3": 18446744073709551615, "5_4": 2})", R"(key "5_3": must be a number)");
    check(R"({"5_3": -2, "5_4": 2})", R"(key "5_3": must be a number of tokens)");
    check(R"({"5_3": 2.0, "5_4": 2})", R"(key "5_3": must be a number of tokens)");
    check(R"({"5_3": "2", "5_4": 2})", R"(key "5_3": must be a number of tokens)");
    check(R"({"5_3": 2})", R"(key "5_4": is missing, while )");
    check(R"({"5_3": 2, "5_4": 2, "6_3": 2})", "holds 3 keys, ");
    check(R"({"5_3": 3, "5_3": 2, "5_4": 2})", R"(key "5_3": stands there twice)");
    check(R"({"\u001b[2J": 3, "\u001b[2J": 2})", R"(key "?[2J": stands there twice)");
    check(R"({"5_3": 2, "5_4": 1e999})", "holds a number too large for any reader");
    check("null", "must be an object");
    check("[2, 2]", "must be an object");
    check("", "no valid JSON at byte 1");
    for (std::size_t size = 0; size < good.size(); ++size)
        check(good.substr(0, size), "no valid JSON at byte ");
    fs::remove(small.path(0, "_numtokens.json"));
    CHECK_STARTS_WITH(small.error(), file + "is missing, while rank1_numtokens.json is there");
    fs::rename(small.path(1, "_numtokens.json"), small.path(0, "_numtokens.json"));
    CHECK_STARTS_WITH(small.error(), small.folder.path().string() +
                                         ": holds numbers of tokens of 1 ranks and counts of 2");
}

TEST_CASE("an odd sum of counts is no whole number of tokens") {
    SmallFolder small;
    small.counts(0, {1, 2, 2});
    small.num_tokens(0, R"({"5_3": 2, "5_4": 2})");
    small.num_tokens(1, R"({"5_3": 1, "5_4": 1})");
    CHECK_STARTS_WITH(small.error(), small.path(0, "_numtokens.json").string() +
                                         ": key \"5_3\": 2 tokens with 2 experts each");
}

TEST_CASE("what a recorder says of ranks in meta_info.json is checked") {
    SmallFolder small;
    const std::string file = (small.folder / "meta_info.json").string() + ": ";
    for (const char* const good :
         {R"(, "ep_size": 2, "experts_per_rank": 1)",
          R"(, "ep_size": "2", "experts_per_rank": "1")", R"(, "experts_per_rank": 1)"}) {
        CAPTURE(good);
        small.meta(good);
        CHECK(small.error() == "");
    }
    const auto check = [&](const std::string& more, const std::string& fault) {
        small.meta(more);
        CHECK_STARTS_WITH(small.error(), file + fault);
    };
    check(R"(, "ep_size": "4")", R"(key "ep_size": 4, but the folder holds 2 rank files)");
    check(R"(, "ep_size": "two")", R"(key "ep_size": must be an integer)");
    check(R"(, "ep_size": "2 ")", R"(key "ep_size": must be an integer)");
    check(R"(, "ep_size": "")", R"(key "ep_size": must be an integer)");
    check(R"(, "ep_size": null)", R"(key "ep_size": must be an integer)");
    check(R"(, "experts_per_rank": 2)", R"(key "experts_per_rank": 2, but num_experts 3 over)");
    check(R"(, "experts_per_rank": -1)", R"(key "experts_per_rank": must be an integer)");
    check(R"(, "experts_per_rank": 1.5)", R"(key "experts_per_rank": must be an integer)");
}

TEST_CASE("files of other recorders are removed with the statistics that they belonged to") {
    SmallFolder small;
    const ExpertStatistics statistics = read(small.folder.path());
    TrtllmStatisticsFolder output(small.folder.path());
    for (const char* const name : {"rank0_raw.safetensors", "rank7_raw.safetensors",
                                   "rank0_numtokens.json", "cooccurrence_rank1.safetensors"})
        write_text(small.folder / name, "stale");
    output.write(statistics, nullptr);
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(small.folder.path()))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    CHECK(names ==
          std::vector<std::string>{"meta_info.json", "rank0.safetensors", "rank1.safetensors"});
    CHECK(read(small.folder.path()) == statistics);
}

TEST_CASE("what could not be removed is refused before anything is written") {
    for (const char* const name : {"rank0_raw.safetensors", "rank3_numtokens.json",
                                   "rank_numtokens.json", "cooccurrence_rank0.safetensors"}) {
        SmallFolder small;
        fs::create_directory(small.folder / name);
        CHECK_STARTS_WITH(error_of([&] { TrtllmStatisticsFolder output(small.folder.path()); }),
                          (small.folder / name).string() + ": stands among the files to be");
    }
}

}  // namespace eplb::test_trtllm_variants
