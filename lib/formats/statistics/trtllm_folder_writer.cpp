#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/safetensors.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_meta.h"
#include "lib/formats/statistics/trtllm_statistics.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

std::vector<TensorToWrite> counts_to_write(const ExpertStatistics& statistics, int source) {
    std::vector<TensorToWrite> tensors;
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            tensors.push_back(
                {key_text({statistics.iter_start + iteration, statistics.layers[layer]}),
                 "I64",
                 {statistics.num_experts},
                 std::as_bytes(statistics.row(iteration, layer, source))});
    return tensors;
}

std::vector<TensorToWrite> ids_to_write(const RoutedIds& routed, int source) {
    std::vector<TensorToWrite> tensors;
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int layer = 0; layer < static_cast<int>(routed.layers.size()); ++layer) {
            const std::vector<std::int32_t>& ids = routed.cell(iteration, layer, source);
            tensors.push_back({key_text({routed.iter_start + iteration, routed.layers[layer]}),
                               "I32",
                               {static_cast<std::int64_t>(ids.size()) / routed.top_k, routed.top_k},
                               std::as_bytes(std::span(ids))});
        }
    return tensors;
}

}  // namespace

// Creates a folder with its parents and removes again what it created, unless it is to keep them.
class TrtllmStatisticsFolder::NewFolders {
  public:
    explicit NewFolders(const fs::path& folder) {
        for (fs::path path = folder; !path.empty() && !is_there(path); path = path.parent_path())
            created_.push_back(path);
        std::error_code error;
        fs::create_directories(folder, error);
        if (error)
            throw Error(folder.string() + ": cannot create the folder: " + error.message());
    }
    ~NewFolders() {
        std::error_code ignored;
        for (const fs::path& path : created_)
            fs::remove(path, ignored);  // only while it is empty
    }
    void keep() { created_.clear(); }

  private:
    std::vector<fs::path> created_;  // the deepest first
};

TrtllmStatisticsFolder::TrtllmStatisticsFolder(fs::path folder, ProcessGroup* group)
    : folder_(std::move(folder)), group_(group) {
    if (is_there(folder_) && !is_folder(folder_))
        throw Error(folder_.string() + ": is no folder; name a folder to write");
    new_folders_ = std::make_unique<NewFolders>(folder_);
    check_replaceable(folder_);
    // a file that goes away at once: it shows that files can be made here
    const OutputFile proof((folder_ / kTrtllmMetaName).string());
}

TrtllmStatisticsFolder::~TrtllmStatisticsFolder() = default;

void TrtllmStatisticsFolder::wait_for_all() const {
    if (group_ != nullptr)
        group_->barrier();
}

void TrtllmStatisticsFolder::write(const ExpertStatistics& statistics,
                                   const RoutedIds* routed_ids,
                                   int first_rank) {
    if (group_ == nullptr && statistics.num_sources != statistics.ep_size)
        throw std::logic_error("a statistics folder holds the counts of each source rank");
    std::vector<OutputFile> files;
    files.reserve(2 * static_cast<std::size_t>(statistics.num_sources));  // they must not move
    const auto make_ready = [&](const RankFileKind& kind, int source,
                                std::vector<TensorToWrite> tensors) {
        files.emplace_back(rank_path(folder_, kind, first_rank + source).string());
        write_safetensors(files.back(), std::move(tensors));
        files.back().sync();
    };
    for (int source = 0; source < statistics.num_sources; ++source) {
        make_ready(kCountsFiles, source, counts_to_write(statistics, source));
        if (routed_ids != nullptr)
            make_ready(kSelectedExpertsFiles, source, ids_to_write(*routed_ids, source));
    }
    std::optional<OutputFile> meta;
    if (is_first()) {
        meta.emplace((folder_ / kTrtllmMetaName).string());
        meta->write(format_trtllm_meta(statistics));
        meta->sync();
    }

    // from here on the folder has no meta file, so that a reader never takes a half swapped folder
    // for a whole one
    wait_for_all();
    std::error_code ignored;
    if (is_first())
        remove_file(fs::weakly_canonical(folder_ / kTrtllmMetaName, ignored));  // a link stays
    wait_for_all();
    for (OutputFile& file : files)
        file.commit();
    new_folders_->keep();
    wait_for_all();
    if (is_first()) {
        remove_rank_files(folder_, kCountsFiles, statistics.ep_size);
        remove_rank_files(folder_, kSelectedExpertsFiles,
                          routed_ids == nullptr ? 0 : statistics.ep_size);
        // of another recorder, and of the statistics that are no more
        for (const RankFileKind& kind : {kRawFiles, kCooccurrenceFiles, kNumTokensFiles})
            remove_rank_files(folder_, kind, 0);
        meta->commit();
    }
    wait_for_all();  // nobody is done before the folder is
}

}  // namespace eplb
