#ifndef EPLB_COLLECT_RECORDER_H
#define EPLB_COLLECT_RECORDER_H

#include <cstdint>
#include <optional>
#include <string>

#include "lib/base/file.h"
#include "lib/cluster/process_group.h"
#include "lib/collect/harness.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// The source ranks that a process records: all of them, or its own where it is one of a group.
struct RankShare {
    ProcessGroup* group = nullptr;
    int first_rank = 0;
    int num_ranks = 0;
};

// Keeps the counts of the iterations in [iter_start, iter_stop) and writes them: to a folder in
// TensorRT-LLM's format when all is done, to "-" (standard output, as a stream) as it goes. The
// members of a group record together: to a folder each its own ranks, to a stream all through rank
// 0.
class Recorder {
  public:
    // What is recorded: num_experts (slots under EPLB), top_k, ep_size, layers, ids, iter_start.
    // The destination is opened at once, so that a bad path fails before the work.
    Recorder(const ExpertStatistics& shape,
             std::int64_t iter_stop,
             const std::string& path,
             bool keep_ids,
             const RankShare& share);

    bool wants(std::int64_t iteration) const {
        return iteration >= range_.start && iteration < range_.stop;
    }

    // To be called with every iteration of the range, in order; counts of the share's ranks. tokens
    // gives the ranks' parts of counts.slot_ids.
    void record(const IterationCounts& counts, const IterationTokens& tokens);

    // All iterations at once, instead, and all ranks, which every member of a group has.
    void record(ExpertStatistics statistics, std::optional<RoutedIds> routed_ids);

    // Writes what has been recorded, if anything has been.
    void finish();

    int num_recorded() const { return num_recorded_; }

  private:
    void keep_ids(const IterationCounts& counts, const IterationTokens& tokens);
    void stream(const IterationCounts& counts);

    RankShare share_;
    bool is_stream_;
    ExpertStatistics statistics_;  // for a stream: of the current iteration alone
    IterationRange range_;
    int num_recorded_ = 0;
    std::optional<RoutedIds> routed_ids_;
    std::optional<TrtllmStatisticsFolder> folder_;
    std::optional<OutputFile> output_;
    std::optional<StatisticsStreamWriter> stream_;  // at rank 0
};

}  // namespace eplb

#endif
