#include "tests/bench/placement/real_data.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/formats/statistics/statistics_source.h"
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

}  // namespace eplb::bench
