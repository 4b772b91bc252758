#ifndef EPLB_COLLECT_RECORDER_H
#define EPLB_COLLECT_RECORDER_H

#include <optional>
#include <string>

#include "lib/base/file.h"
#include "lib/cluster/process_group.h"
#include "lib/collect/batch_counts.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

namespace eplb {

// Keeps the counts of the iterations in [iter_start, iter_stop) and writes them: to a folder in
// TensorRT-LLM's format when all is done, to "-" (standard output, as a stream) as it goes. The
// members of a group record together: to a folder each its own ranks, to a stream all through rank
// 0.
class Recorder {
  public:
    // What is recorded: num_experts (slots under EPLB), top_k, ep_size, layers, ids; num_sources
    // ranks from first_rank on are this process' own. The destination is opened at once, so that a
    // bad path fails before the work.
    Recorder(const ExpertStatistics& shape,
             const IterationRange& range,
             const std::string& path,
             bool keep_ids,
             int first_rank,
             ProcessGroup* group);

    // To be called with every batch, in order, of iterations that follow one another; takes the
    // counts of those in the range.
    void record(BatchCounts& batch);

    // Writes what has been recorded, if anything has been.
    void finish();

    int num_recorded() const { return num_recorded_; }

  private:
    void stream(const ExpertStatistics& batch, int iteration);

    int first_rank_;
    ProcessGroup* group_;
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
