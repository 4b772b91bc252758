#ifndef EPLB_FORMATS_STATISTICS_RANK_FILES_H
#define EPLB_FORMATS_STATISTICS_RANK_FILES_H

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/safetensors.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

// The rank files of a TensorRT-LLM statistics folder as files and keys; what their tensors mean is
// trtllm_statistics' matter.
namespace eplb {

// What the files of a kind are called: "{prefix}{rank}{suffix}".
struct RankFileKind {
    std::string_view prefix;
    std::string_view suffix;
};
constexpr RankFileKind kCountsFiles = {"rank", ".safetensors"};
constexpr RankFileKind kSelectedExpertsFiles = {"token_selected_experts_rank", ".safetensors"};
constexpr RankFileKind kRawFiles = {"rank", "_raw.safetensors"};
constexpr RankFileKind kCooccurrenceFiles = {"cooccurrence_rank", ".safetensors"};
constexpr RankFileKind kNumTokensFiles = {"rank", "_numtokens.json"};

std::filesystem::path rank_path(const std::filesystem::path& folder,
                                const RankFileKind& kind,
                                int rank);

// In the order of ranks, none missing; empty where there are none. A file that has the kind's
// prefix and suffix and is neither a rank's nor of another kind is an Error: upstream's loader sums
// whatever matches rank*.safetensors.
std::vector<std::filesystem::path> find_rank_files(const std::filesystem::path& folder,
                                                   const RankFileKind& kind);

// Throws the Error that says what in a folder stands in the way of new rank files: a file that
// find_rank_files() would refuse to take for a rank's, or a folder of a rank file's name.
void check_replaceable(const std::filesystem::path& folder);

// Removes the files of ranks from num_kept on.
void remove_rank_files(const std::filesystem::path& folder, const RankFileKind& kind, int num_kept);

void remove_file(const std::filesystem::path& path);

// "FILE: key "100_3": what is wrong"
[[noreturn]] void fail_at_key(const std::string& name,
                              std::string_view key,
                              const std::string& what);

// One tensor of a rank file. Its key is "{iteration}_{layer}".
struct KeyedTensor {
    std::int64_t iteration = 0;
    int layer = 0;           // id
    std::size_t tensor = 0;  // position in the header's tensors
};

// "{iteration}_{layer}"
std::string key_text(std::pair<std::int64_t, int> key);

// An element of a tensor's data, little-endian as the files are.
template <typename Integer>
Integer load_element(const std::byte* data, std::size_t index) {
    static_assert(std::endian::native == std::endian::little);
    Integer value = 0;
    std::memcpy(&value, data + index * sizeof value, sizeof value);
    return value;
}

// The files of one kind, a rank each, with their keys: all ranks have the same.
struct RankFiles {
    std::vector<SafetensorsReader> files;
    // [ep_size]: cells in the order of iterations, then layers; files with one header share them
    std::vector<std::shared_ptr<const std::vector<KeyedTensor>>> cells;
    std::vector<int> layers;
    IterationRange iterations;

    int ep_size() const { return static_cast<int>(files.size()); }
    const Tensor& tensor(int source, const KeyedTensor& cell) const {
        return files[source].header().tensors[cell.tensor];
    }

    // [layers]: one iteration of one rank
    std::span<const KeyedTensor> iteration(int source, std::int64_t id) const {
        const auto first = static_cast<std::size_t>(id - iterations.start) * layers.size();
        return std::span(*cells[source]).subspan(first, layers.size());
    }
};

// At least one path. Every rank has the same keys, every iteration the same layers, and no
// iteration is left out; everything else is an Error.
RankFiles open_rank_files(const std::vector<std::filesystem::path>& paths);

// Files that lie beside the counts belong to them: same ranks and layers, and the iterations of the
// counts are there. An Error that calls their content `what` ("routed ids") otherwise.
void check_same_recording(const RankFiles& recording,
                          const std::string& what,
                          const ExpertStatistics& statistics);

}  // namespace eplb

#endif
