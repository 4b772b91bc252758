#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_STATISTICS_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_STATISTICS_H

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/cluster/process_group.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

// The folder that TensorRT-LLM's ExpertStatistic writes ($EXPERT_STATISTIC_PATH) and that
// examples/wide_ep/ep_load_balancer reads:
//
//   meta_info.json        {"num_experts": int, "num_experts_per_token": int}
//   rank{r}.safetensors   per key "{iteration}_{layer}" the counts of source rank r,
//                         [num_experts] I64 (I32 is read too)
//   token_selected_experts_rank{r}.safetensors   (optional) per key the routed ids, I32 (I64 is
//                         read too), [num_tokens of the rank, top_k]
//   rank{r}_raw.safetensors   (optional) the same from another variant of the recorder, which keeps
//                         the last chunk of each forward pass alone: ids that are fewer than the
//                         counts are not used. Passed over where the files above are there
//   rank{r}_numtokens.json   (optional, trtllm_num_tokens.h) numbers of tokens, checked against the
//                         counts
//
// Recordings under EPLB hold slot ids: num_experts is then the number of slots. Upstream does not
// say so in the folder. We add to meta_info.json, where upstream's loader ignores it: "ep_size", so
// that a lost rank is noticed, "ids", "expert" or "slot", and for slots "layer_updates_per_iter".
// One variant of the recorder writes "ep_size" and "experts_per_rank"; both are checked.
namespace eplb {

// Reads the counts. Strict: missing or extra ranks, gaps in iterations, layers missing in an
// iteration, keys that only some ranks have, a wrong shape or dtype, negative counts, a num_experts
// that disagrees, stale files of a larger run, truncated or overlapping tensors, `null` in the meta
// file, an iteration range outside the data: each an Error that names file, key and remedy.
// rows, where given, sees the counts of each source rank in the same pass.
ExpertStatistics read_trtllm_statistics(const std::filesystem::path& folder,
                                        const StatisticsSelection& selection,
                                        ThreadPool& threads,
                                        RowSink* rows = nullptr);

// Reads the routed ids beside the counts; nothing if the folder has none, or incomplete ones.
// Checked against `statistics` (the same folder, with its source ranks): same ranks and layers, its
// iterations are there, and for every key the ids counted are the counts read.
std::optional<RoutedIds> read_trtllm_routed_ids(const std::filesystem::path& folder,
                                                const ExpertStatistics& statistics);

bool has_trtllm_routed_ids(const std::filesystem::path& folder);

// Whether the folder's routed ids are those of the last of several chunks alone, so that there are
// fewer than were counted: "FILE: key …: holds 6 ids where 12 were counted: …", to which a remedy
// is to be added. Nothing if they are whole or there are none. statistics as below.
std::optional<std::string> find_incomplete_routed_ids(const std::filesystem::path& folder,
                                                      const ExpertStatistics& statistics);

// read_trtllm_routed_ids() without holding them, of a folder that has some; an Error where they are
// incomplete. visit(iteration, layer, source, ids)
// for each cell, iteration an id, layer a position from 0, ids [num_tokens * top_k]. The cells of
// one iteration come from one thread. statistics may be summed over source ranks: so are the ids
// then before they are checked.
using RoutedIdsVisitor = std::function<void(
    std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids)>;
void visit_trtllm_routed_ids(const std::filesystem::path& folder,
                             const ExpertStatistics& statistics,
                             ThreadPool& threads,
                             const RoutedIdsVisitor& visit);

// A folder that is about to hold statistics. Opened before the work starts, so that a bad path
// fails early; write() makes every file ready and synced under a temporary name, then swaps them
// in, meta_info.json last, and removes rank files that an earlier run left, a larger one or one of
// another recorder. Until then the
// folder's old statistics stay valid.
//
// Several processes that see one folder write it together, each the files of its own source ranks;
// rank 0 of the group writes meta_info.json once all others' files are in place. Where one of them
// fails before all are ready, nothing changes; where it dies in the middle of swapping, the folder
// has no meta_info.json and is read by nobody.
class TrtllmStatisticsFolder {
  public:
    // group: the processes that open it, all at once; null: this one alone.
    explicit TrtllmStatisticsFolder(std::filesystem::path folder, ProcessGroup* group = nullptr);
    ~TrtllmStatisticsFolder();
    TrtllmStatisticsFolder(const TrtllmStatisticsFolder&) = delete;
    TrtllmStatisticsFolder& operator=(const TrtllmStatisticsFolder&) = delete;

    // Source i of statistics and routed_ids (which may be null) is rank first_rank + i; without a
    // group they hold all ranks.
    void write(const ExpertStatistics& statistics, const RoutedIds* routed_ids, int first_rank = 0);

  private:
    class NewFolders;
    bool is_first() const { return group_ == nullptr || group_->rank() == 0; }
    void wait_for_all() const;

    std::filesystem::path folder_;
    ProcessGroup* group_;
    std::unique_ptr<NewFolders> new_folders_;  // go away again if nothing is written
};

}  // namespace eplb

#endif
