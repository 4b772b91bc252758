#include "lib/formats/statistics/trtllm_statistics.h"

#include <vector>

#include "lib/base/error.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_counts.h"
#include "lib/formats/statistics/trtllm_meta.h"
#include "lib/formats/statistics/trtllm_num_tokens.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

ExpertStatistics shape_of(const TrtllmMeta& meta,
                          const RankFiles& recording,
                          const StatisticsSelection& selection,
                          const std::string& folder) {
    const IterationRange range = select_iterations(selection, recording.iterations, folder);
    ExpertStatistics statistics;
    statistics.num_experts = meta.num_experts;
    statistics.top_k = meta.top_k;
    statistics.ep_size = recording.ep_size();
    statistics.layers = recording.layers;
    statistics.iter_start = range.start;
    statistics.num_iterations = static_cast<int>(range.stop - range.start);
    statistics.num_sources = selection.sum_sources ? 1 : statistics.ep_size;
    statistics.ids = meta.ids;
    statistics.layer_updates_per_iter = meta.layer_updates_per_iter;
    return statistics;
}

}  // namespace

ExpertStatistics read_trtllm_statistics(const fs::path& folder,
                                        const StatisticsSelection& selection,
                                        ThreadPool& threads,
                                        RowSink* rows) {
    const TrtllmMeta meta = read_trtllm_meta(folder);
    const std::vector<fs::path> paths = find_rank_files(folder, kCountsFiles);
    if (paths.empty())
        throw Error(folder.string() + ": holds no rank0.safetensors: the recording is unfinished " +
                    "or this is no statistics folder");
    check_num_ranks(meta, folder, static_cast<int>(paths.size()));
    const RankFiles recording = open_rank_files(paths);
    check_counts_tensors(recording, meta.num_experts);
    const TrtllmNumTokens num_tokens(folder, recording);

    ExpertStatistics statistics = shape_of(meta, recording, selection, folder.string());
    if (rows != nullptr)
        rows->begin(statistics);
    statistics.allocate();
    read_counts(recording, num_tokens, statistics, threads, rows);
    return statistics;
}

}  // namespace eplb
