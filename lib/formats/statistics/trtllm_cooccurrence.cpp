#include "lib/formats/statistics/trtllm_cooccurrence.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/safetensors.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_statistics.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

void check_matrix(const SafetensorsReader& file, const Tensor& tensor, int num_experts) {
    if (tensor.dtype != "I64" && tensor.dtype != "I32")
        fail_at_key(file.name(), tensor.name,
                    "dtype " + tensor.dtype +
                        ", pairs are I32 or I64: this is no cooccurrence file; remove it");
    if (tensor.shape != std::vector<std::int64_t>{num_experts, num_experts})
        fail_at_key(file.name(), tensor.name,
                    "the shape must be [" + std::to_string(num_experts) + ", " +
                        std::to_string(num_experts) +
                        "], as num_experts in meta_info.json says: the files are of different "
                        "runs; record again into an empty folder");
}

// One tensor's entries as they are, [num_experts][num_experts].
template <typename Integer>
void read_entries(const SafetensorsReader& file,
                  const Tensor& tensor,
                  std::vector<std::int64_t>& entries) {
    std::vector<Integer> values((tensor.end - tensor.begin) / sizeof(Integer));
    file.read(tensor.begin, std::as_writable_bytes(std::span(values)));
    entries.assign(values.begin(), values.end());
}

class PairsReader {
  public:
    PairsReader(const RankFiles& recording, const ExpertStatistics& statistics)
        : recording_(recording), statistics_(statistics) {}

    // Adds up a layer (a position) over iterations and source ranks.
    void add_layer(int layer, std::span<std::int64_t> sums) const {
        std::vector<std::int64_t> entries;
        for (int iteration = 0; iteration < statistics_.num_iterations; ++iteration)
            for (int source = 0; source < statistics_.ep_size; ++source) {
                const SafetensorsReader& file = recording_.files[source];
                const auto cells = recording_.iteration(source, statistics_.iter_start + iteration);
                const Tensor& tensor = recording_.tensor(source, cells[layer]);
                if (tensor.dtype == "I64")
                    read_entries<std::int64_t>(file, tensor, entries);
                else
                    read_entries<std::int32_t>(file, tensor, entries);
                check_entries(file.name(), tensor, entries);
                check_rows(file.name(), tensor, entries, statistics_.row(iteration, layer, source));
                std::transform(entries.begin(), entries.end(), sums.begin(), sums.begin(),
                               std::plus<>());
            }
    }

  private:
    std::size_t num_experts() const { return static_cast<std::size_t>(statistics_.num_experts); }

    void check_entries(const std::string& name,
                       const Tensor& tensor,
                       std::span<const std::int64_t> entries) const {
        for (std::size_t a = 0; a < num_experts(); ++a)
            for (std::size_t b = 0; b < num_experts(); ++b) {
                const std::int64_t value = entries[a * num_experts() + b];
                const std::int64_t mirrored = entries[b * num_experts() + a];
                if (value >= 0 && value <= kMaxCount && value == mirrored)
                    continue;
                const char* const what = value < 0           ? "is negative"
                                         : value > kMaxCount ? "is absurd"
                                                             : "differs from its mirror image";
                fail_at_key(name, tensor.name,
                            "count " + std::to_string(value) + " at [" + std::to_string(a) + ", " +
                                std::to_string(b) + "] " + what +
                                ": the file is damaged; copy it again");
            }
    }

    // [a][a] is the count of the rank file; and with top_k experts per token every token of a adds
    // top_k to its row.
    void check_rows(const std::string& name,
                    const Tensor& tensor,
                    std::span<const std::int64_t> entries,
                    std::span<const std::int64_t> counts) const {
        for (std::size_t a = 0; a < num_experts(); ++a) {
            const std::span<const std::int64_t> row =
                entries.subspan(a * num_experts(), num_experts());
            if (row[a] != counts[a])
                fail_at_key(name, tensor.name,
                            "expert " + std::to_string(a) + " has " + std::to_string(row[a]) +
                                " tokens there, the rank file counts " + std::to_string(counts[a]) +
                                ": the files are of different runs; remove the cooccurrence files");
            std::int64_t sum = 0;
            for (const std::int64_t value : row)
                sum += value;
            if (sum != row[a] * statistics_.top_k)
                fail_at_key(name, tensor.name,
                            "row " + std::to_string(a) + " sums to " + std::to_string(sum) +
                                ", while " + std::to_string(row[a]) + " tokens with " +
                                std::to_string(statistics_.top_k) + " experts each give " +
                                std::to_string(row[a] * statistics_.top_k) +
                                ": the file is damaged or tokens lack experts; copy it again or "
                                "remove the cooccurrence files");
        }
    }

    const RankFiles& recording_;
    const ExpertStatistics& statistics_;
};

ExpertCooccurrence read_pairs(const std::vector<fs::path>& paths,
                              const ExpertStatistics& statistics,
                              ThreadPool& threads) {
    const RankFiles recording = open_rank_files(paths);
    check_same_recording(recording, "pairs", statistics);
    for (const SafetensorsReader& file : recording.files)
        for (const Tensor& tensor : file.header().tensors)
            check_matrix(file, tensor, statistics.num_experts);

    ExpertCooccurrence cooccurrence;
    cooccurrence.num_experts = statistics.num_experts;
    cooccurrence.layers = statistics.layers;
    cooccurrence.allocate();
    const PairsReader reader(recording, statistics);
    threads.for_each(statistics.num_layers(), [&](std::int64_t index) {
        const auto layer = static_cast<int>(index);
        reader.add_layer(layer, cooccurrence.matrix(layer));
        std::int64_t num_routed = 0;
        for (const std::int64_t count : total_counts(statistics, layer))
            num_routed += count;
        cooccurrence.num_tokens[index] = num_routed / statistics.top_k;
    });
    return cooccurrence;
}

}  // namespace

std::optional<ExpertCooccurrence> read_trtllm_cooccurrence(const fs::path& folder,
                                                           const StatisticsSelection& selection,
                                                           ThreadPool& threads) {
    const ExpertStatistics statistics =
        read_trtllm_statistics(folder, {selection.iter_start, selection.iter_stop, false}, threads);
    std::optional<ExpertCooccurrence> cooccurrence;
    if (const std::optional<RoutedIds> routed = read_trtllm_routed_ids(folder, statistics)) {
        cooccurrence = count_cooccurrence(*routed, statistics.num_experts);
    } else {
        const std::vector<fs::path> paths = find_rank_files(folder, kCooccurrenceFiles);
        if (paths.empty()) {
            if (const auto incomplete = find_incomplete_routed_ids(folder, statistics))
                throw Error(*incomplete +
                            "; record again with a max_num_tokens that makes one chunk");
            return std::nullopt;
        }
        cooccurrence = read_pairs(paths, statistics, threads);
    }
    cooccurrence->ids = statistics.ids;
    return cooccurrence;
}

}  // namespace eplb
