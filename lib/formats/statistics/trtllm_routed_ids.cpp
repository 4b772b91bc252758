#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_statistics.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

// The files of the one kind that is taken: raw ones may be incomplete, the others are not.
struct RoutedIdsFiles {
    std::vector<fs::path> paths;
    bool are_raw = false;

    std::string what() const { return are_raw ? "raw" : "token_selected_experts"; }
};

RoutedIdsFiles find_routed_ids(const fs::path& folder) {
    std::vector<fs::path> paths = find_rank_files(folder, kSelectedExpertsFiles);
    if (!paths.empty())
        return {std::move(paths), false};
    return {find_rank_files(folder, kRawFiles), true};
}

void check_ids_tensor(const SafetensorsReader& file,
                      const Tensor& tensor,
                      const ExpertStatistics& statistics) {
    if (tensor.dtype != "I64" && tensor.dtype != "I32")
        fail_at_key(file.name(), tensor.name, "dtype " + tensor.dtype + ", ids are I32 or I64");
    if (tensor.shape.size() != 2 || tensor.shape[1] != statistics.top_k)
        fail_at_key(file.name(), tensor.name,
                    "the shape must be [num_tokens, " + std::to_string(statistics.top_k) +
                        "], as num_experts_per_token in meta_info.json says");
}

std::vector<std::int32_t> read_ids(const SafetensorsReader& file,
                                   const Tensor& tensor,
                                   const ExpertStatistics& statistics) {
    check_ids_tensor(file, tensor, statistics);
    const bool is_wide = tensor.dtype == "I64";
    std::vector<std::byte> bytes(tensor.end - tensor.begin);
    file.read(tensor.begin, bytes);
    std::vector<std::int32_t> ids(bytes.size() / (is_wide ? 8 : 4));
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::int64_t id = is_wide ? load_element<std::int64_t>(bytes.data(), i)
                                        : load_element<std::int32_t>(bytes.data(), i);
        if (id < -1 || id >= statistics.num_experts)
            fail_at_key(file.name(), tensor.name,
                        "id " + std::to_string(id) + " at position " + std::to_string(i) +
                            " is outside [-1, " + std::to_string(statistics.num_experts) + ")");
        ids[i] = static_cast<std::int32_t>(id);
    }
    return ids;
}

void count_ids(const std::vector<std::int32_t>& ids, std::vector<std::int64_t>& counted) {
    for (const std::int32_t id : ids)
        if (id >= 0)
            ++counted[id];
}

// name: the rank's file, or the folder where all ranks were counted
void check_against_counts(const std::string& name,
                          const std::string& key,
                          const std::string& what,
                          const std::vector<std::int64_t>& counted,
                          std::span<const std::int64_t> counts) {
    const auto [ours, theirs] = std::mismatch(counted.begin(), counted.end(), counts.begin());
    if (ours == counted.end())
        return;
    fail_at_key(
        name, key,
        "id " + std::to_string(ours - counted.begin()) + " stands there " + std::to_string(*ours) +
            " times, the rank file counts " + std::to_string(*theirs) +
            ": the files are of different runs, or the recorder kept only the last of several "
            "chunks; remove the " +
            what + " files");
}

void check_num_sources(const ExpertStatistics& statistics) {
    if (statistics.num_sources != 1 && statistics.num_sources != statistics.ep_size)
        throw std::logic_error("routed ids are checked against counts of all source ranks");
}

// All source ranks of one iteration and layer, one after the other.
class RoutedIdsReader {
  public:
    // what: the files' kind, for messages
    RoutedIdsReader(const RankFiles& recording,
                    std::string what,
                    const ExpertStatistics& statistics)
        : recording_(recording), what_(std::move(what)), statistics_(statistics) {}

    // The first cell with fewer ids than were counted: "FILE: key …"; nothing if there is none.
    std::optional<std::string> find_incomplete_cell() const {
        for (std::int64_t id = statistics_.iter_start; id < statistics_.iter_stop(); ++id)
            for (int layer = 0; layer < statistics_.num_layers(); ++layer)
                if (std::optional<std::string> found = find_incomplete_source(id, layer))
                    return found;
        return std::nullopt;
    }

    // iteration: an id
    void read_cells(std::int64_t iteration, int layer, const RoutedIdsVisitor& visit) const {
        const int position = static_cast<int>(iteration - statistics_.iter_start);
        const bool is_summed = statistics_.num_sources == 1;
        std::vector<std::int64_t> counted(statistics_.num_experts);
        for (int source = 0; source < statistics_.ep_size; ++source) {
            const SafetensorsReader& file = recording_.files[source];
            const Tensor& tensor = tensor_of(iteration, layer, source);
            std::vector<std::int32_t> ids = read_ids(file, tensor, statistics_);
            count_ids(ids, counted);
            if (!is_summed || source + 1 == statistics_.ep_size)
                check_against_counts(
                    is_summed ? fs::path(file.name()).parent_path().string() : file.name(),
                    tensor.name, what_, counted,
                    statistics_.row(position, layer, is_summed ? 0 : source));
            if (!is_summed)
                std::fill(counted.begin(), counted.end(), 0);
            visit(iteration, layer, source, std::move(ids));
        }
    }

  private:
    const Tensor& tensor_of(std::int64_t iteration, int layer, int source) const {
        return recording_.tensor(source, recording_.iteration(source, iteration)[layer]);
    }

    std::optional<std::string> find_incomplete_source(std::int64_t iteration, int layer) const {
        const int position = static_cast<int>(iteration - statistics_.iter_start);
        std::int64_t num_ids = 0;  // of all sources up to here where the counts are summed
        for (int source = 0; source < statistics_.ep_size; ++source) {
            const SafetensorsReader& file = recording_.files[source];
            const Tensor& tensor = tensor_of(iteration, layer, source);
            check_ids_tensor(file, tensor, statistics_);
            const bool is_summed = statistics_.num_sources == 1;
            num_ids = (is_summed ? num_ids : 0) + tensor.shape[0] * tensor.shape[1];
            if (is_summed && source + 1 < statistics_.ep_size)
                continue;
            const auto counts = statistics_.row(position, layer, is_summed ? 0 : source);
            const std::int64_t num_counted =
                std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
            if (num_ids < num_counted)
                return (is_summed ? fs::path(file.name()).parent_path().string() : file.name()) +
                       ": key \"" + tensor.name + "\": holds " + std::to_string(num_ids) +
                       " ids where " + std::to_string(num_counted) +
                       " were counted: the recorder kept those of the last of several chunks";
        }
        return std::nullopt;
    }

    const RankFiles& recording_;
    std::string what_;
    const ExpertStatistics& statistics_;
};

}  // namespace

bool has_trtllm_routed_ids(const fs::path& folder) {
    return !find_routed_ids(folder).paths.empty();
}

std::optional<std::string> find_incomplete_routed_ids(const fs::path& folder,
                                                      const ExpertStatistics& statistics) {
    check_num_sources(statistics);
    const RoutedIdsFiles files = find_routed_ids(folder);
    if (files.paths.empty() || !files.are_raw)
        return std::nullopt;
    const RankFiles recording = open_rank_files(files.paths);
    check_same_recording(recording, "routed ids", statistics);
    return RoutedIdsReader(recording, files.what(), statistics).find_incomplete_cell();
}

void visit_trtllm_routed_ids(const fs::path& folder,
                             const ExpertStatistics& statistics,
                             ThreadPool& threads,
                             const RoutedIdsVisitor& visit) {
    if (const auto incomplete = find_incomplete_routed_ids(folder, statistics))
        throw Error(*incomplete + "; record again with a max_num_tokens that makes one chunk");
    const RoutedIdsFiles files = find_routed_ids(folder);
    const RankFiles recording = open_rank_files(files.paths);
    check_same_recording(recording, "routed ids", statistics);
    const RoutedIdsReader reader(recording, files.what(), statistics);
    threads.for_each(statistics.num_iterations, [&](std::int64_t iteration) {
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            reader.read_cells(statistics.iter_start + iteration, layer, visit);
    });
}

std::optional<RoutedIds> read_trtllm_routed_ids(const fs::path& folder,
                                                const ExpertStatistics& statistics) {
    if (statistics.num_sources != statistics.ep_size)
        throw std::logic_error("routed ids can be checked only against counts per source rank");
    if (!has_trtllm_routed_ids(folder) || find_incomplete_routed_ids(folder, statistics))
        return std::nullopt;
    RoutedIds routed;
    routed.top_k = statistics.top_k;
    routed.ep_size = statistics.ep_size;
    routed.layers = statistics.layers;
    routed.iter_start = statistics.iter_start;
    routed.num_iterations = statistics.num_iterations;
    routed.ids.resize(static_cast<std::size_t>(statistics.num_iterations) *
                      statistics.layers.size() * static_cast<std::size_t>(statistics.ep_size));
    ThreadPool alone(1);
    visit_trtllm_routed_ids(
        folder, statistics, alone,
        [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
            routed.cell(static_cast<int>(iteration - routed.iter_start), layer, source) =
                std::move(ids);
        });
    return routed;
}

}  // namespace eplb
