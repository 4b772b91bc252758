#include "tests/bench/placement/real_data.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/base/error.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

namespace fs = std::filesystem;

// An empty path, and a line on stdout, where it is absent.
fs::path data_folder(const std::string& name) {
    fs::path path = fs::path(EPLB_SOURCE_ROOT).parent_path() / "shared" / "data" / name;
    if (fs::is_directory(path))
        return path;
    print_text("skipped: no ../shared/data/" + name + " beside the source tree");
    return {};
}

// Layers without experts are rows of zeros there, and left out.
ExpertStatistics read_logical_count(const fs::path& path) {
    std::ifstream file(path);
    const auto counts = nlohmann::json::parse(file)["logical_count"];
    ExpertStatistics statistics;
    statistics.num_experts = static_cast<int>(counts[0].size());
    statistics.top_k = 8;
    statistics.ep_size = statistics.num_sources = statistics.num_iterations = 1;
    for (std::size_t layer = 0; layer < counts.size(); ++layer) {
        const auto row = counts[layer].get<std::vector<double>>();
        if (std::accumulate(row.begin(), row.end(), 0.0) == 0)
            continue;
        statistics.layers.push_back(static_cast<int>(layer));
        for (const double count : row)
            statistics.counts.push_back(static_cast<std::int64_t>(count));
    }
    return statistics;
}

// Counts the routed ids anew. Tokens that do not fill a last iteration are left out.
ExpertStatistics recut(const fs::path& folder,
                       const ExpertStatistics& recorded,
                       int tokens_per_rank) {
    const int num_tokens = recorded.num_iterations * kRecordedRanks * kRecordedTokens;
    ExpertStatistics statistics = recorded;
    statistics.num_iterations = num_tokens / (kRecordedRanks * tokens_per_rank);
    statistics.allocate();
    ThreadPool alone(1);  // several recorded iterations may go into one row
    visit_trtllm_routed_ids(
        folder, recorded, alone,
        [&](std::int64_t iteration, int layer, int source, const std::vector<std::int32_t>& ids) {
            if (ids.size() != static_cast<std::size_t>(kRecordedTokens * recorded.top_k))
                throw Error(folder.string() + ": has other tokens than the benchmark expects");
            const auto position = static_cast<int>(iteration - recorded.iter_start);
            const int first = (position * kRecordedRanks + source) * kRecordedTokens;
            for (std::size_t i = 0; i < ids.size(); ++i) {
                const int cell = (first + static_cast<int>(i) / recorded.top_k) / tokens_per_rank;
                if (ids[i] >= 0 && cell / kRecordedRanks < statistics.num_iterations)
                    ++statistics.row(cell / kRecordedRanks, layer, cell % kRecordedRanks)[ids[i]];
            }
        });
    return statistics;
}

}  // namespace

std::vector<Recording> read_workloads() {
    std::vector<Recording> workloads;
    const fs::path folder = data_folder("deepseek-r1");
    if (!folder.empty())
        for (const std::string name :
             {"prefill_in512", "prefill_in1024", "prefill_in2000out100", "prefill_in4096",
              "decode_in1000out1000", "decode_in2000out100"})
            workloads.push_back({name, read_logical_count(folder / (name + ".json"))});
    return workloads;
}

std::vector<Recording> read_routes(ThreadPool& threads) {
    std::vector<Recording> routes;
    const fs::path folder = data_folder("deepseek-v2-lite");
    if (!folder.empty())
        for (const std::string name : {"intent", "summary"})
            routes.push_back({name, read_statistics((folder / name).string(), {}, threads)});
    return routes;
}

std::vector<Recording> read_routes(int tokens_per_rank, ThreadPool& threads) {
    std::vector<Recording> routes = read_routes(threads);
    for (Recording& recording : routes)
        recording.statistics = recut(data_folder("deepseek-v2-lite") / recording.name,
                                     recording.statistics, tokens_per_rank);
    return routes;
}

}  // namespace eplb::bench
