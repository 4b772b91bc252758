#include <map>
#include <string>
#include <vector>

#include "lib/base/safetensors.h"
#include "lib/formats/statistics/trtllm_cooccurrence.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/test_support.h"

namespace eplb::test_trtllm_cooccurrence {

using eplb::test::error_of;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace fs = std::filesystem;

namespace {

using Values = std::vector<std::int64_t>;
using Tensors = std::map<std::string, Values>;

ThreadPool& pool() {
    static ThreadPool threads(2);
    return threads;
}

void write_tensors(const fs::path& path,
                   const Tensors& tensors,
                   const std::vector<std::int64_t>& shape,
                   const std::string& dtype) {
    std::vector<TensorToWrite> list;
    std::vector<std::vector<std::int32_t>> narrow;
    narrow.reserve(tensors.size());
    for (const auto& [key, values] : tensors) {
        std::span<const std::byte> bytes = std::as_bytes(std::span(values));
        if (dtype == "I32") {
            std::vector<std::int32_t>& copy = narrow.emplace_back();
            for (const std::int64_t value : values)
                copy.push_back(static_cast<std::int32_t>(value));
            bytes = std::as_bytes(std::span(copy));
        }
        list.push_back({key, dtype, shape, bytes});
    }
    OutputFile output(path.string());
    write_safetensors(output, list);
    output.commit();
}

// Two ranks, three experts, two per token, iterations 5 and 6, layer 4; every number by hand from
// the tokens beside it.
class PairsFolder {
  public:
    PairsFolder() {
        write_text(folder / "meta_info.json", R"({"num_experts": 3, "num_experts_per_token": 2})");
        const std::vector<Tensors> counts = {{{"5_4", {2, 1, 1}}, {"6_4", {0, 1, 1}}},
                                             {{"5_4", {1, 1, 0}}, {"6_4", {0, 0, 0}}}};
        for (std::size_t rank = 0; rank < 2; ++rank)
            write_tensors(path("rank", rank), counts[rank], {3}, "I64");
        pairs = {{{"5_4", {2, 1, 1, 1, 1, 0, 1, 0, 1}},    // 0 1, 0 2
                  {"6_4", {0, 0, 0, 0, 1, 1, 0, 1, 1}}},   // 2 1
                 {{"5_4", {1, 1, 0, 1, 1, 0, 0, 0, 0}},    // 1 0
                  {"6_4", {0, 0, 0, 0, 0, 0, 0, 0, 0}}}};  // no token
    }

    fs::path path(const std::string& prefix, std::size_t rank) const {
        return folder / (prefix + std::to_string(rank) + ".safetensors");
    }
    void write(const std::string& dtype = "I32",
               const std::vector<std::int64_t>& shape = {3, 3}) const {
        for (std::size_t rank = 0; rank < pairs.size(); ++rank)
            write_tensors(path("cooccurrence_rank", rank), pairs[rank], shape, dtype);
    }
    void write_ids() const {
        write_tensors(path("token_selected_experts_rank", 1), {{"5_4", {1, 0}}, {"6_4", {-1, -1}}},
                      {1, 2}, "I32");
        std::vector<TensorToWrite> list;
        const std::vector<std::int32_t> first = {0, 1, 0, 2};
        const std::vector<std::int32_t> second = {2, 1};
        list.push_back({"5_4", "I32", {2, 2}, std::as_bytes(std::span(first))});
        list.push_back({"6_4", "I32", {1, 2}, std::as_bytes(std::span(second))});
        OutputFile output(path("token_selected_experts_rank", 0).string());
        write_safetensors(output, list);
        output.commit();
    }

    std::optional<ExpertCooccurrence> read(const StatisticsSelection& selection = {}) const {
        return read_trtllm_cooccurrence(folder.path(), selection, pool());
    }
    std::string error() const {
        return error_of([&] { read(); });
    }
    // of the entry at `position` of a tensor of rank 1 set to `value`, the rest as it should be
    std::string error_with(const std::string& key, std::size_t position, std::int64_t value) const {
        std::vector<Tensors> spoiled = pairs;
        spoiled[1][key][position] = value;
        write_tensors(path("cooccurrence_rank", 0), spoiled[0], {3, 3}, "I64");
        write_tensors(path("cooccurrence_rank", 1), spoiled[1], {3, 3}, "I64");
        return error();
    }

    TemporaryFolder folder;
    std::vector<Tensors> pairs;
};

ExpertCooccurrence expected_pairs() {
    return {3, IdKind::unstated, {4}, {4}, {3, 2, 1, 2, 3, 1, 1, 1, 2}};
}

}  // namespace

TEST_CASE("cooccurrence files are summed over ranks and iterations, in either dtype") {
    const PairsFolder folder;
    for (const char* const dtype : {"I32", "I64"}) {
        folder.write(dtype);
        CHECK(folder.read() == expected_pairs());
        CHECK(folder.read({{}, {}, true}) == expected_pairs());
        const ExpertCooccurrence last = {
            3, IdKind::unstated, {4}, {1}, {0, 0, 0, 0, 1, 1, 0, 1, 1}};
        CHECK(folder.read({6, {}, false}) == last);
    }
}

TEST_CASE("routed ids give the same pairs and go before the cooccurrence files") {
    const PairsFolder folder;
    folder.write_ids();
    CHECK(folder.read() == expected_pairs());
    write_text(folder.path("cooccurrence_rank", 0), "stale");
    CHECK(folder.read() == expected_pairs());
}

TEST_CASE("a folder with neither holds no pairs") {
    const PairsFolder folder;
    CHECK(folder.read() == std::nullopt);
}

TEST_CASE("what the ids stand for is taken from the folder") {
    const PairsFolder folder;
    folder.write();
    write_text(folder.folder / "meta_info.json",
               R"({"num_experts": 3, "num_experts_per_token": 2, "ids": "slot",)"
               R"( "layer_updates_per_iter": 0})");
    CHECK(folder.read().value().ids == IdKind::slot);
    folder.write_ids();
    CHECK(folder.read().value().ids == IdKind::slot);
}

TEST_CASE("cooccurrence of a wrong dtype or shape is refused") {
    PairsFolder folder;
    const std::string name = folder.path("cooccurrence_rank", 0).string();
    folder.write("F64");
    CHECK(folder.error() == name +
                                ": key \"5_4\": dtype F64, pairs are I32 or I64: this is no "
                                "cooccurrence file; remove it");
    const std::string shape_error =
        name +
        ": key \"5_4\": the shape must be [3, 3], as num_experts in meta_info.json says: "
        "the files are of different runs; record again into an empty folder";
    folder.write("I32", {9});
    CHECK(folder.error() == shape_error);
    folder.write("I32", {1, 9});
    CHECK(folder.error() == shape_error);
    for (Tensors& rank : folder.pairs)
        for (auto& [key, entries] : rank)
            entries.resize(4);
    folder.write("I32", {2, 2});
    CHECK(folder.error() == shape_error);
}

TEST_CASE("entries that no tokens give are refused") {
    const PairsFolder folder;
    const std::string at = folder.path("cooccurrence_rank", 1).string() + ": key \"5_4\": ";
    const std::string damaged = ": the file is damaged; copy it again";
    CHECK(folder.error_with("5_4", 0, -1) == at + "count -1 at [0, 0] is negative" + damaged);
    CHECK(folder.error_with("5_4", 1, kMaxCount + 1) ==
          at + "count 1099511627776 at [0, 1] is absurd" + damaged);
    CHECK(folder.error_with("5_4", 2, 1) ==
          at + "count 1 at [0, 2] differs from its mirror image" + damaged);
    CHECK(folder.error_with("5_4", 0, 2) ==
          at + "expert 0 has 2 tokens there, the rank file counts 1: the files are of different "
               "runs; remove the cooccurrence files");
}

TEST_CASE("a symmetric matrix whose rows are not of top_k experts each is refused") {
    PairsFolder folder;
    folder.pairs[1]["5_4"] = {1, 0, 0, 0, 1, 0, 0, 0, 0};
    folder.write();
    CHECK(folder.error() ==
          folder.path("cooccurrence_rank", 1).string() +
              ": key \"5_4\": row 0 sums to 1, while 1 tokens with 2 experts each give 2: the "
              "file is damaged or tokens lack experts; copy it again or remove the cooccurrence "
              "files");
}

TEST_CASE("cooccurrence files that do not belong to the counts are refused") {
    const std::string remedy = ": they are of different runs; remove the stale files";
    PairsFolder folder;
    folder.write();
    const std::string name = folder.path("cooccurrence_rank", 0).string();
    fs::remove(folder.path("cooccurrence_rank", 1));
    CHECK(folder.error() == name + ": the pairs are of 1 ranks, the counts of 2" + remedy);
    fs::rename(name, folder.path("cooccurrence_rank", 1));
    CHECK_STARTS_WITH(folder.error(), name + ": is missing, while cooccurrence_rank1.safetensors");

    PairsFolder other_layer;
    for (Tensors& rank : other_layer.pairs)
        for (const char* const iteration : {"5_", "6_"})
            rank[iteration + std::string("3")] = rank[iteration + std::string("4")];
    other_layer.write();
    CHECK(other_layer.error() == other_layer.path("cooccurrence_rank", 0).string() +
                                     ": the pairs have other layers than the counts" + remedy);

    PairsFolder fewer;
    for (Tensors& rank : fewer.pairs)
        rank.erase("6_4");
    fewer.write();
    CHECK(fewer.error() == fewer.path("cooccurrence_rank", 0).string() +
                               ": the pairs have iterations 5 to 5, the counts 5 to 6" + remedy);
    CHECK(fewer.read({5, 6, false}).has_value());

    PairsFolder uneven;
    uneven.pairs[1].erase("6_4");
    uneven.write();
    CHECK_STARTS_WITH(uneven.error(), uneven.path("cooccurrence_rank", 1).string() +
                                          ": key \"6_4\": is missing, while ");
}

TEST_CASE("a cooccurrence file cut off at any byte is refused") {
    const PairsFolder folder;
    folder.write();
    const fs::path path = folder.path("cooccurrence_rank", 1);
    const std::string whole = eplb::test::read_text(path);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        write_text(path, whole.substr(0, size));
        CAPTURE(size);
        CHECK(folder.error().starts_with(path.string() + ": "));
    }
    write_text(path, whole);
    CHECK(folder.read() == expected_pairs());
}

TEST_CASE("real routing: the diagonal of the pairs is the counts") {
    const fs::path data = test::real_data();
    if (data.empty() || !fs::is_directory(data / "deepseek-v2-lite"))
        return;
    const fs::path folder = data / "deepseek-v2-lite" / "intent";
    const auto pairs = read_trtllm_cooccurrence(folder, {}, pool());
    REQUIRE(pairs);
    const ExpertStatistics statistics = read_trtllm_statistics(folder, {{}, {}, true}, pool());
    REQUIRE(pairs->layers == statistics.layers);
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const std::span<const std::int64_t> matrix = pairs->matrix(layer);
        Values diagonal;
        std::int64_t num_pairs = 0;
        for (std::size_t i = 0; i < matrix.size(); ++i) {
            num_pairs += matrix[i];
            if (i % 65 == 0)
                diagonal.push_back(matrix[i]);
        }
        CHECK(diagonal == total_counts(statistics, layer));
        // 8 ranks, 32 tokens each, 6 experts per token
        const std::int64_t num_tokens = std::int64_t{8} * 32 * statistics.num_iterations;
        CHECK(pairs->num_tokens[layer] == num_tokens);
        CHECK(num_pairs == num_tokens * 6 * 6);
    }
}

}  // namespace eplb::test_trtllm_cooccurrence
